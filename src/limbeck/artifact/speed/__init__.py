"""How long answers take: each subject in a process of its own, in turns, and what follows.

- `worker`: the process that opens one subject and answers when it is asked.
- `workers`: starts these processes and asks them; no pickle, JSON lines over pipes. `inputs`: what
  is answered, in a file. `in_process`: for what no other process can make.
- `rounds`: the turns. `ratios`: how many times as long one subject takes as another. `product`:
  where a speed-up comes from.
"""
