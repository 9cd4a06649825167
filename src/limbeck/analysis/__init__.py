"""Which layer pays: what each loses, saturates and takes, and how sensitive the loss is to it. A model and rows in, a table out."""
