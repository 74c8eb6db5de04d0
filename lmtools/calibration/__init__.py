"""How honest a model's probabilities are: tasks, answers with confidences, and the table made of them."""
