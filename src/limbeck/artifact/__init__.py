"""What `pip install limbeck` runs: a folder that answers raw input, its proof, its speed. No torch.

- `load`: open the folder and check it (`manifest`: its files, `golden`: what it computes).
- `predictor`: raw input to answer. `inputs`: what a command line feeds it.
- `runtimes/`: how a graph is opened, one file for each runtime.
- `parity`, `rescore`: the proof that a graph decides as the trained model does.
- `speed`: how long answers take. `bench`: the table of `limbeck bench`.
"""
