"""The loops that exported C is made of; `real` stands for the number type."""

from __future__ import annotations

from hybridmodel.export.c.pieces import REAL, DType

ADD_ROWS = """\
/* y += sum over k of c[k] times row k of w, which has n rows of m numbers */
static void {p}_add_rows(int n, int m, const real *restrict w, const real *restrict c,
                         real *restrict y)
{{
    int k = 0;
    for (; k + 4 <= n; k += 4, w += 4 * m)
        for (int i = 0; i < m; i++)
            y[i] += (c[k] * w[i] + c[k + 1] * w[m + i])
                  + (c[k + 2] * w[2 * m + i] + c[k + 3] * w[3 * m + i]);
    for (; k < n; k++, w += m)
        for (int i = 0; i < m; i++)
            y[i] += c[k] * w[i];
}}
"""
DOT_ROWS = """\
/* y (m, n) = a (m, l) times the transpose of b (n, l) */
static void {p}_dot_rows(int m, int n, int l, const real *restrict a, const real *restrict b,
                         real *restrict y)
{{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {{
            real sum = 0;
            for (int k = 0; k < l; k++)
                sum += a[i * l + k] * b[j * l + k];
            y[i * n + j] = sum;
        }}
}}
"""
ADD_OUTER = """\
/* b (n, l) += the transpose of g (m, n) times a (m, l) */
static void {p}_add_outer(int m, int n, int l, const real *restrict g, const real *restrict a,
                          real *restrict b)
{{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            for (int k = 0; k < l; k++)
                b[j * l + k] += g[i * n + j] * a[i * l + k];
}}
"""
CHAIN = """\
/* t (…, n) += s times tangents (…, n): s has the values `slope` at (row, column) */
static void {p}_chain(int count, int n, const int *restrict row, const int *restrict column,
                      const real *restrict slope, const real *restrict from, real *restrict to)
{{
    for (int k = 0; k < count; k++)
        for (int i = 0; i < n; i++)
            to[row[k] * n + i] += slope[k] * from[column[k] * n + i];
}}
"""
KERNELS = {"add_rows": ADD_ROWS, "dot_rows": DOT_ROWS, "add_outer": ADD_OUTER, "chain": CHAIN}


def print_kernels(prefix: str, text: str, dtype: DType) -> str:
    """Those kernels that `text` calls."""
    called = [kernel for name, kernel in KERNELS.items() if f"{prefix}_{name}(" in text]
    return "\n".join(k.format(p=prefix).replace("real", REAL[dtype]) for k in called)
