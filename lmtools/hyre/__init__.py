"""HyRe: one ensemble of reward heads, reweighted to each user by a few labelled examples."""
