"""What does a ledger say to people and spreadsheets?"""
