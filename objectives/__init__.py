"""What one operating point costs: DER, size and real-time factor. Knows nothing of studies or of Optuna."""
