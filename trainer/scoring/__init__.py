"""What are a model's loss and its translations worth?"""
