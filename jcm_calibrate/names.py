"""Names of methods and files, which are known before anything large is imported."""

#: All methods of `jcm_calibrate.optimisers.minimise`, and those that need no gradient.
METHODS = (
    "adam", "adamw", "sgd", "rmsprop", "nadam", "adabelief", "lion", "lbfgs", "lbfgsb",
    "scipy_bfgs", "scipy_cg", "scipy_slsqp", "gauss_newton", "levenberg_marquardt",
    "jaxopt_lbfgs", "jaxopt_lbfgsb", "jaxopt_levenberg_marquardt", "eki", "etki", "uki",
    "nelder_mead", "cma_es")  # fmt: skip
GRADIENT_FREE = ("eki", "etki", "uki", "nelder_mead", "cma_es")
#: Files in the folder of a calibration: log of the fit (of its first start), the fit, draws and
#: state of the sampler, members of an ensemble.
EVALUATIONS, FIT, CHAINS, STORE = (
    "evaluations.jsonl", "fit.json", "chains.npz", "ensemble.zarr")  # fmt: skip
