"""A look inside a recipe: which candidates match, what a cell sees."""
