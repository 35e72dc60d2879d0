"""How fast the library is, beside fastai, beside the machine's own limit, and beside what it promises."""
