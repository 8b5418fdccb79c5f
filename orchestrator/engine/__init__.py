"""What happens next? One tick that leads, obeys, collects, decides and launches."""
