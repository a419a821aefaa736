"""How a result is shown: text, tables, plots, pages. What a result is: `nelbo.results`."""
