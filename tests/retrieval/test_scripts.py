"""Recall in nine scripts, over one corpus of 27 passages, with the default settings.

A question shares with its passage the term named beside it, which stands in no other passage, and nothing
with any other passage that would weigh more: so it comes first, in whatever form the question is typed. The
third Russian question shares none (Казани, Казань: the default stemmer is English): two of three.
"""

import unicodedata

import pytest

from lmtools.data.records import Passage
from lmtools.retrieval.config import Bm25Config, RankBm25Config
from lmtools.retrieval.open import open_retriever

TEXTS = {
    "Latin": {
        "Malmö": ("Malmö är en hamnstad i Skåne.", "Var ligger Malmö?"),  # malmö
        "Đà Nẵng": ("Đà Nẵng là thành phố biển.", "Thành phố nào có biển?"),  # biển
        "Łódź": ("Łódź to miasto włókniarzy.", "Gdzie mieszkali włókniarzy?"),  # włókniarzy
    },
    "Cyrillic": {
        "Москва": ("Москва́ — столица Росси́и.", "Столица России?"),  # столица, россии
        "Київ": ("Київ стоїть на Дніпрі.", "Яке місто на Дніпрі?"),  # дніпрі
        "Казань": ("Казань — город на Волге.", "Чем известен порт Казани?"),  # none
    },
    "Greek": {
        "Αθήνα": ("Η Αθήνα είναι η πρωτεύουσα.", "Ποια είναι η πρωτεύουσα;"),  # πρωτεύουσα
        "Πάτρα": ("Η Πάτρα έχει λιμάνι.", "Πού είναι το λιμάνι;"),  # λιμάνι
        "Σπάρτη": ("Η Σπάρτη ανήκει στη Λακωνία.", "Πού είναι η Σπάρτη;"),  # σπάρτη
    },
    "Devanagari": {
        "दिल्ली": ("दिल्ली भारत की राजधानी है।", "दिल्ली क्या है?"),  # दिल्ली
        "मुंबई": ("मुंबई एक शहर है।", "मुंबई क्या है?"),  # मुंबई
        "गंगा": ("गंगा एक नदी है।", "कौन सी नदी?"),  # नदी
    },
    "Arabic": {
        "القاهرة": ("القاهرة عاصمة مصر.", "ما عاصِمَة مِصر؟"),  # عاصمة and مصر, here with vowels
        "دمشق": ("دِمَشق مدينة في سوريا.", "أين تقع دمشق؟"),  # دمشق, there with vowels
        "النيل": ("النيل نهر طويل.", "ما اسم النهر الطـويل؟ نـهر"),  # نهر, here drawn out
    },
    "Chinese": {
        "北京": ("北京是中国的首都。", "哪个城市是首都？"),  # 首都
        "长江": ("长江流入东海。", "长江在哪里？"),  # 长江
        "猫": ("猫喜欢吃鱼。", "鱼"),  # 鱼
    },
    "Japanese": {
        "富士山": ("富士山は日本一高い山です。", "一番高い山は？"),  # 高い, い山
        "ラーメン": ("ラーメンは麺料理です。", "ﾗｰﾒﾝとは？"),  # ラーメン, here in half width
        "琵琶湖": ("琵琶湖は滋賀県にある。", "滋賀県の湖は？"),  # 滋賀県
    },
    "Thai": {
        "กรุงเทพ": ("กรุงเทพเป็นเมืองหลวงของไทย", "เมืองหลวงชื่ออะไร"),  # เมืองหลวง
        "น้ำตก": ("น้ำตกเอราวัณสวยมาก", "เอราวัณคืออะไร"),  # เอราวัณ
        "ช้าง": ("ช้างกินกล้วย", "ใครกินกล้วย"),  # กินกล้วย
    },
    "Korean": {
        "서울": ("서울은 대한민국의 수도이다.", "대한민국 수도는?"),  # 대한민국, 수도
        "제주도": ("제주도에는 한라산이 있다.", "한라산은 어디에?"),  # 한라산
        "김치": ("김치는 발효 음식이다.", "김치를 발효하면?"),  # 김치, 발효
    },
}
EXPECTED = dict.fromkeys(TEXTS, 1.0) | {"Cyrillic": 2 / 3}
CORPUS = [
    Passage(id=title, title=title, text=text)
    for script in TEXTS.values()
    for title, (text, _) in script.items()
]


@pytest.mark.parametrize(
    "config", [*(Bm25Config(method=m) for m in ("lucene", "robertson", "atire")), RankBm25Config()]
)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
def test_recall_of_the_first_hit(config, form):
    retriever = open_retriever(config, CORPUS)
    recall = {}
    for script, texts in TEXTS.items():
        questions = [unicodedata.normalize(form, question) for _, question in texts.values()]
        first = [[hit.title for hit in hits[:1]] for hits in retriever.search(questions, 1)]
        recall[script] = sum(hits == [title] for hits, title in zip(first, texts, strict=True)) / 3
    assert recall == pytest.approx(EXPECTED)
