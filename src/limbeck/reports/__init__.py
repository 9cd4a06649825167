"""report.json as a page, as lines of a terminal, as sentences: dicts in, text out, no torch.

- `page`: the HTML page, put together from
  - `outcome`: the verdict in words and in four figures,
  - `arms`: what stands in the table of arms, `labels`: in those of confusion and of labels,
  - `charts`: the curves of training, over an `axis`,
  - `heatmap`: the layers of a quantized model.
- `summary`: the lines that end a run in a terminal.
- `speed`: whether the artifact is slower than what it replaces, in sentences.
- `numbers`: how numbers are written.
"""
