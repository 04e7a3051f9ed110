"""What Prometheus is shown: Labsite itself, and what its instruments say now."""
