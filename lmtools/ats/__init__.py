"""ATS: a small head that predicts a temperature for every token, so that probabilities mean what they say."""
