"""What operations, zones and targets look like to whoever asks: queries, the CLI, the database client."""
