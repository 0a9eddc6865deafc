"""Fine-tuning from an expert: linear probe, full fine-tune, cold start, and what they leave behind."""
