"""What to ask: studies as pure data, one page each."""
