"""Images: import, shards, read plan, views and the stream of batches."""
