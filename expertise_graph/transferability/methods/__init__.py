"""The estimators, one a file: pure functions of features and labels; higher is better."""
