"""Networks of your own: exported from PyTorch, and taught. See docs/custom-networks.md and docs/training.md."""
