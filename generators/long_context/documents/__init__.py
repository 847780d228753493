"""Questions across documents of one topic, for teachers."""
