"""The commands of `jcm-sensitivity`, one file each."""
