#!/usr/bin/env python3
"""What PyTorch reaches on this GPU with the shapes of bench_gpu: products, attention, layers forward and training, AdamW, and the
removal of columns one by one as DarwinLM's code does it, on a part and extrapolated. Random weights; needs torch and nothing else."""
import time

import torch
import torch.nn.functional as F

device = torch.device("cuda")
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = False


def seconds(work, runs=7):
    work()
    torch.cuda.synchronize()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sorted(times)[runs // 2]


def matrix(*shape, dtype=torch.bfloat16, scale=1.0):
    return torch.randn(*shape, device=device, dtype=torch.float32).mul_(scale).to(dtype)


def work(name, operations, duration, peak=None):
    rate = operations / duration
    share = f"{100 * rate / peak:6.1f} % of the peak" if peak else ""
    print(f"{name:<52} {duration * 1e3:9.3f} ms {rate / 1e12:8.1f} TFLOP/s {share}", flush=True)
    return rate


class Layer:
    """A decoder layer of Llama in plain operations; weights are leaves with gradients."""

    def __init__(self, hidden, heads, kv_heads, columns, head_dim=128):
        self.heads, self.kv_heads, self.head_dim, self.hidden = heads, kv_heads, head_dim, hidden
        width, kv = heads * head_dim, kv_heads * head_dim
        shapes = dict(q=(width, hidden), k=(kv, hidden), v=(kv, hidden), o=(hidden, width), gate=(columns, hidden), up=(columns, hidden),
                      down=(hidden, columns))
        self.weights = {name: matrix(*shape, scale=0.02).requires_grad_() for name, shape in shapes.items()}
        self.weights["norm1"] = torch.ones(hidden, device=device, dtype=torch.bfloat16, requires_grad=True)
        self.weights["norm2"] = torch.ones(hidden, device=device, dtype=torch.bfloat16, requires_grad=True)

    def parameters(self):
        return sum(w.numel() for name, w in self.weights.items() if not name.startswith("norm"))

    def __call__(self, x, cosine, sine):
        w, (batch, length) = self.weights, x.shape[:2]

        def heads_of(y, count):
            return y.view(batch, length, count, self.head_dim).transpose(1, 2)

        def rotated(y):
            low, high = y.chunk(2, -1)
            return y * cosine + torch.cat((-high, low), -1) * sine

        normed = F.rms_norm(x, (self.hidden,), w["norm1"], 1e-5)
        q = rotated(heads_of(F.linear(normed, w["q"]), self.heads))
        k = rotated(heads_of(F.linear(normed, w["k"]), self.kv_heads))
        v = heads_of(F.linear(normed, w["v"]), self.kv_heads)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv_heads != self.heads)
        x = x + F.linear(mixed.transpose(1, 2).reshape(batch, length, -1), w["o"])
        normed = F.rms_norm(x, (self.hidden,), w["norm2"], 1e-5)
        return x + F.linear(F.silu(F.linear(normed, w["gate"])) * F.linear(normed, w["up"]), w["down"])


def measure_layers(name, count, peak, hidden, heads, kv_heads, columns):
    layers = [Layer(hidden, heads, kv_heads, columns) for _ in range(count)]
    weights = [w for layer in layers for w in layer.weights.values()]
    parameters = sum(layer.parameters() for layer in layers)

    def forward(x, cosine, sine):
        for layer in layers:
            x = layer(x, cosine, sine)
        return x

    for tokens in (512, 2048, 4096):
        length = min(tokens, 2048)
        angles = torch.outer(torch.arange(length, device=device), 1e4 ** (-torch.arange(0, 128, 2, device=device) / 128))
        angles = torch.cat((angles, angles), -1)
        cosine, sine = angles.cos().bfloat16(), angles.sin().bfloat16()
        x = matrix(tokens // length, length, hidden)
        flops = 2.0 * parameters * tokens + count * 2 * heads * 128 * length * tokens
        with torch.no_grad():
            work(f"PyTorch, {count} layers of {name}, forward, {tokens} tokens", flops, seconds(lambda: forward(x, cosine, sine), 5), peak)
        x.requires_grad_()

        def step():
            for w in weights:
                w.grad = None
            forward(x, cosine, sine).backward(x.detach())

        work(f"PyTorch, {count} layers of {name}, and backward, {tokens}", 3 * flops, seconds(step, 5), peak)
    masters = [w.detach().float().requires_grad_() for w in weights]
    for master in masters:
        master.grad = torch.zeros_like(master)
    optimiser = torch.optim.AdamW(masters, fused=True)
    duration = seconds(optimiser.step, 5)
    count = sum(m.numel() for m in masters)
    print(f"PyTorch fused AdamW of {count / 1e6:.0f} M fp32 parameters, {name:<10} {duration * 1e3:9.3f} ms "
          f"{28 * count / duration / 1e9:8.1f} GB/s (28 bytes each)", flush=True)


def measure_attention(peak):
    for head_dim in (128, 64):
        for kv_heads in (32, 8):
            q = matrix(2, 32, 2048, head_dim).requires_grad_()
            k, v = (matrix(2, kv_heads, 2048, head_dim).requires_grad_() for _ in range(2))
            g = matrix(2, 32, 2048, head_dim)
            flops = 2 * 2 * 32 * head_dim * 2 * 2048 * 2048 / 2

            def attend():
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv_heads != 32)

            with torch.no_grad():
                forward = seconds(attend)
            both = seconds(lambda: torch.autograd.grad(attend(), (q, k, v), g))
            work(f"PyTorch attention, 32 heads of {head_dim}, {kv_heads} KV, 2 x 2048", flops, forward, peak)
            work("its gradients", 2.5 * flops, both - forward, peak)


def measure_removals(rows, columns, removals=40):
    """One column at a time: score, the update of W and of the inverse Hessian, both in full (fp32)."""
    w = matrix(rows, columns, dtype=torch.float32, scale=0.02)
    inverse = torch.eye(columns, device=device) + 1e-4 * matrix(columns, columns, dtype=torch.float32)
    gone = torch.zeros(columns, device=device)

    def remove():
        nonlocal w, inverse
        diagonal = inverse.diagonal()
        j = (w.square().sum(0) / diagonal + gone).argmin()
        gone[j] = float("inf")
        row = inverse[j] / inverse[j, j]
        w -= torch.outer(w[:, j], row)
        inverse -= torch.outer(inverse[:, j], row)

    one = seconds(remove, removals)
    print(f"PyTorch, a column of {rows} x {columns} removed: {one * 1e3:.3f} ms, all of them {one * columns:.1f} s (extrapolated)",
          flush=True)
    hessian = matrix(columns, columns, dtype=torch.float32)
    hessian = hessian @ hessian.T / columns + torch.eye(columns, device=device)
    duration = seconds(lambda: torch.cholesky_inverse(torch.linalg.cholesky(hessian)), 1)
    print(f"PyTorch, the inverse of a Hessian of {columns} columns: {duration * 1e3:.1f} ms", flush=True)


def main():
    n = 8192
    a, b = matrix(n, n), matrix(n, n)
    peak = work("PyTorch, bf16 product 8192^3", 2.0 * n**3, seconds(lambda: a @ b))
    x, w = matrix(4096, 4096), matrix(11008, 4096, scale=0.02)
    work("PyTorch linear, 4096 tokens, 4096 -> 11008", 2.0 * 4096 * 4096 * 11008, seconds(lambda: F.linear(x, w)), peak)
    measure_attention(peak)
    measure_layers("7B", 4, peak, 4096, 32, 32, 11008)
    torch.cuda.empty_cache()
    measure_layers("14B", 4, peak, 5120, 40, 8, 13824)
    torch.cuda.empty_cache()
    measure_removals(5120, 13824)


if __name__ == "__main__":
    main()
