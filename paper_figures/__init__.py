"""One module per figure of the textbooks and papers: its docstring is the caption, `data()` computes what is
shown, `draw(data)` returns the Figure, and `CLAIMS` states what a reader should see in it.
"""
