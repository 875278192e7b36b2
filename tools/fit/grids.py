"""Hat-function grids of ln(measured / roofline) and their ridge fit.

A grid is multilinear in log2 of its axes between knots and constant outside them. `fit` minimises
sum w (y - B c - Z e)^2 + lam^2 |second differences of c|^2 + (0.1 lam)^2 |first differences|^2 with two Huber rounds."""
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu


def hat(x, knots):
    """Left index and weight of the right knot, clamped."""
    k = np.asarray(knots, float)
    x = np.clip(x, k[0], k[-1])
    i = np.clip(np.searchsorted(k, x, side="right") - 1, 0, len(k) - 2)
    return i, (x - k[i]) / (k[i + 1] - k[i])


def design(coords, axes):
    shape = [len(a) for a in axes]
    n = len(coords[0])
    rows, cols, vals = [], [], []
    lw = [hat(c, a) for c, a in zip(coords, axes)]
    for corner in range(1 << len(axes)):
        w = np.ones(n)
        idx = np.zeros(n, np.int64)
        for d, (i, f) in enumerate(lw):
            up = corner >> d & 1
            w *= f if up else 1 - f
            idx = idx * shape[d] + i + up
        rows.append(np.arange(n)); cols.append(idx); vals.append(w)
    return sp.csr_matrix((np.concatenate(vals), (np.concatenate(rows), np.concatenate(cols))), (n, int(np.prod(shape))))


def roughness(axes, lam):
    shape = [len(a) for a in axes]
    n = int(np.prod(shape))
    idx = np.arange(n).reshape(shape)
    out = []
    for d, a in enumerate(axes):
        h = np.diff(np.asarray(a, float))
        m = np.moveaxis(idx, d, 0)
        for i in range(len(a) - 1):
            p, q = m[i].ravel(), m[i + 1].ravel()
            r = np.arange(len(p))
            out.append(0.1 * lam / np.sqrt(h[i]) * (sp.csr_matrix((np.ones(len(p)), (r, q)), (len(p), n)) - sp.csr_matrix((np.ones(len(p)), (r, p)), (len(p), n))))
        for i in range(1, len(a) - 1):
            p, q, s = m[i - 1].ravel(), m[i].ravel(), m[i + 1].ravel()
            r = np.arange(len(p))
            w = lam
            mk = lambda c, v: sp.csr_matrix((np.full(len(c), v), (r, c)), (len(c), n))
            out.append(w * (mk(p, h[i] / (h[i - 1] + h[i]) * 2) + mk(q, -2.0) + mk(s, h[i - 1] / (h[i - 1] + h[i]) * 2)))
    return sp.vstack(out).tocsr()


def fit(y, coords, axes, Z=None, lam=0.3, zprior=0.05, rounds=2, w=None):
    """Returns grid values (flat, last axis fastest) and z coefficients."""
    B = design(coords, axes)
    nz = 0 if Z is None else Z.shape[1]
    A = B if nz == 0 else sp.hstack([B, sp.csr_matrix(Z)]).tocsr()
    R = roughness(axes, lam)
    if nz:
        R = sp.vstack([sp.hstack([R, sp.csr_matrix((R.shape[0], nz))]), sp.hstack([sp.csr_matrix((nz, B.shape[1])), zprior * sp.identity(nz) * np.sqrt(len(y) / 100)])]).tocsr()
    P = R.T @ R + 1e-6 * sp.identity(A.shape[1])
    wt = np.ones(len(y)) if w is None else np.asarray(w, float)
    base = wt
    for _ in range(rounds + 1):
        W = sp.diags(wt)
        c = splu((A.T @ W @ A + P).tocsc()).solve(A.T @ (wt * y))
        r = y - A @ c
        s = 1.4826 * np.median(np.abs(r)) + 1e-6
        wt = base * np.minimum(1.0, 1.5 * s / np.maximum(np.abs(r), 1e-12))
    return c[:B.shape[1]], c[B.shape[1]:]


def predict(c, e, coords, axes, Z=None):
    y = design(coords, axes) @ c
    return y if Z is None or len(e) == 0 else y + Z @ e


def rising(y, w):
    """Nearest non-decreasing values, weighted least squares (pool adjacent violators)."""
    means, weights, counts = [], [], []
    for v, u in zip(y, w):
        means.append(v); weights.append(u); counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            v, u, n = means.pop(), weights.pop(), counts.pop()
            means[-1] = (means[-1] * weights[-1] + v * u) / (weights[-1] + u)
            weights[-1] += u; counts[-1] += n
    return np.repeat(means, counts)


def never_falls(c, coords, axes, roofs, along):
    """The grid moved where roof x exp(grid) would fall from knot to knot along the axes `along`; knots that no measured
    point supports move first. `coords`: of the points; `roofs`: functions of the coordinates of all knots (one a
    model), seconds."""
    knots = np.meshgrid(*(2.0 ** np.asarray(a, float) for a in axes), indexing="ij")
    grid = c.reshape(knots[0].shape).copy()
    support = np.asarray(design(coords, axes).sum(0)).reshape(grid.shape) + 1e-3
    logs = [np.log(roof(*knots)) for roof in roofs]
    for _ in range(8):
        for log_roof in logs:
            for d in along:
                y, w = (np.moveaxis(a, d, -1).reshape(-1, grid.shape[d]) for a in (grid + log_roof, support))
                for i in np.where((np.diff(y) < 0).any(1))[0]:
                    y[i] = rising(y[i], w[i])
                grid = np.moveaxis(y.reshape(np.moveaxis(grid, d, -1).shape), -1, d) - log_roof
    return grid.ravel()
