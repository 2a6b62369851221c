"""The checker of annotations at run time: as beartype, but whole numbers pass as real ones."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
