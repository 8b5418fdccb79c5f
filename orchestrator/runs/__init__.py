"""What is a run of a trial, for whoever starts it and whoever does it?"""
