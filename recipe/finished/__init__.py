"""A finished run used: its classifier, predictions, annotated photos, exports, evaluations."""
