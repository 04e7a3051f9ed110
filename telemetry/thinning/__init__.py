"""Of channels with a storage policy not each reading is stored: which, and what that takes at ingest."""
