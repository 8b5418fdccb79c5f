"""What does the live page show?"""
