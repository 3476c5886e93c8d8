"""Every tolerance of the tests, with its reason. Relative unless the name says otherwise."""

from __future__ import annotations

TOLERANCES: dict[str, float] = {
    # style
    "mmd identities, float64": 1e-12,  # the same sums in another order
    "style loss, float32": 1e-5,  # of ||G||^2 + ||T||^2; N M products a term, summed in blocks
    "style loss, float64": 1e-13,  # likewise
    "style loss, cuda value": 1e-5,  # of ||G||^2 + ||T||^2, on inputs as rounded; float32 sums
    "style loss, cuda float32 gradient": 1e-5,  # likewise
    "style loss, cuda bfloat16 gradient": 1e-2,  # one rounding to 8 bits at the end
    "style loss, cuda float16 gradient": 2e-3,  # one rounding to 11 bits
    "style target, float32": 1e-4,  # the loss is some hundredth of ||G||^2 + ||T||^2
    "preset losses, float32": 1e-4,  # float32 features through the network, squared differences
    "optimised alone and in a batch, absolute": 1e-5,  # sums in another order, thirty steps on
    "L-BFGS directions, float64, relative": 1e-9,  # triangular systems for a recursion
    "sum of squares, float32": 1e-7,  # exact terms, double sums, one rounding to float32
    "sum of squares, float64": 1e-12,  # some hundred thousand additions in another order
    "Gaussian bandwidth": 0.02,  # drawn from some hundred pairs; the reference takes them all
    # sums of up to 720 products, and Winograd's transforms; torch's own are as far away
    "convolution, float32 of max|y|": 5e-6,
    "packed features, L2": 1e-5,  # forty layers of such roundings; torch's own come to a tenth
    "packed gradient, L2": 1e-2,  # likewise, and a ReLU near zero may switch; unrelated ones: 1.4
    "gray stem, absolute": 1e-4,  # float32 convolutions of 49 x 3 against 49 terms, deeper after it
    "bfloat16 features, L2": 0.02,  # 8 bits at each of some forty roundings, half of them lost
    "bfloat16 gradient, L2": 0.3,  # measured 0.18: ReLUs near zero switch; unrelated ones: 1.4
    # of ten images after a few noisy steps; .004 on an AMD EPYC
    "mixed precision, median style distance left, absolute": 0.02,
    # torch sums in another order and may round to the other side: up to .025; with weights that are
    # not rounded .45
    "emulated bfloat16, part of layer1 that differs": 0.1,
    "balance fixed point": 1e-6,  # the ratio of norms is one by construction
    "channel means of FM": 1e-5,  # the mean of float32 quantiles, ties averaged
    "weights of mean one": 1e-5,  # float32 sums of some dozen positions
    "manifest figures": 1e-5,  # nine digits written, float32 layer sums
    "ssim of flat images": 1e-4,  # float32 images in a float64 formula
    # masks
    "overlays' reach, float32": 1e-5,  # roundings within a tile of sixteen pixels, layer by layer
    "column weights, float32": 1e-6,  # one rounding of sqrt(M / M'), squared
    # relevance
    "conservation, float32": 1e-3,  # rounding through fifty layers with a zero bias
    "conservation, float64": 1e-5,  # the stabiliser's 1e-9 at the smallest denominators
    "relevance twin, float64 of max|R|": 1e-6,  # two derivations; stabilisers enter differently
    "zennit, float64 of max|R|": 1e-4,  # stabilisers enter at other places
    "inflation without sum rule, absolute": 1.0,  # 2^16 from sixteen sums
    "relevance, float32 against float64": 2e-3,  # relative L2: a pool's winner may be another
    "lrp op, float64 of max|R|": 1e-10,  # z- as a difference of two sums, here and there
    "lrp op, float32 of max|R|": 1e-3,  # likewise: a part of 1e-4 keeps three digits
    "lrp conservation of a layer, float64": 1e-10,  # sums of some thousand products
    "lrp cuda step, float32": 1e-5,  # fused multiply-adds there, none on the CPU
    "lrp cuda step, float64": 1e-13,  # likewise
    "fold, float64": 1e-10,  # one multiplication moved
    # despeckling
    "srad parity, float32": 1e-4,  # against the published programs, sums in another order
    "srad twin, float32 absolute": 1e-5,  # a few roundings an iteration, on pixels up to 1
    "srad twin, float64 absolute": 1e-12,  # likewise
    "srad cuda, float32 absolute": 1e-5,  # fused multiply-adds there, none on the CPU
    "elementary functions, last places": 1.5,  # half for the result, the rest in two or three steps
    "srad mean drift, absolute": 1e-6,  # fluxes cancel, roundings do not
    "srad noise figures": 0.08,  # one published draw of speckle against the mean of four
    "despeckling figures": 0.08,  # spreads of some hundred to two thousand normal draws
    # kernels in emulation
    "lrp emulated sums": 1e-12,  # float64, in another order
    "gram difference of max|G|": 3e-6,  # float32 sums of up to 2050 products
    "gram difference of max|G|, device": 2e-5,  # likewise, accumulated by tensor cores
    "gram loss of its terms": 1e-6,  # those errors, squared and summed in float64
    # data
    "luma levels, absolute": 0.51,  # one rounding to 8 bits, 16-bit coefficients
    "jpeg levels, absolute": 4.0,  # quantisation at quality 95 of a smooth ramp
    "resize, float32 absolute": 1e-5,  # weighted means of up to 16 x 16 pixels in [0, 1]
    "RF envelope, absolute gray": 0.02,  # sidebands of the echoes' envelope reach below 0 Hz
    "speckle statistics": 0.03,  # six images of some thousand speckle cells
    "speckle power by depth": 0.12,  # 40 images, 12 rows: some hundred cells of variance 1
    # training over processes
    "training on p ranks, float64": 1e-12,  # as much as inputs changed by 1e-15 make
    "bfloat16 training step, L2": 0.1,  # 8 bits at each of some hundred roundings, averaged
    "resnet on p ranks, float64 of the largest": 1e-7,  # likewise; BatchNorm over two values
    "global batchnorm, float64": 1e-12,  # the same sums in another order
    # overlays: parts of the drawn pixels that are covered, or of the image that is marked astray
    "overlay recall, letters": 0.97,  # round letters' level ends are told by nothing else
    "overlay recall, calipers": 0.9,  # a dotted line's last dots, the tips of crosses
    "overlay recall, resampled": 0.85,  # strokes blurred to half their contrast
    "overlay recall, boxes": 0.95,  # the corners
    "overlay recall, logo": 0.8,  # filled black between letter and outline
    "overlay recall, surround": 0.99,  # a pixel along its edge
    "overlay astray, part of the image": 2e-3,  # a line followed beyond its end
    "overlay false, part of real lesions": 1e-3,  # bright septa, seen as strokes at 256x256
    # experiments
    "ROC area, absolute": 0.01,  # trapezia a fortieth wide, steepest at the first
    "moved spot, pixels": 0.1,  # a spot of five pixels, read bilinearly
    "turned spot, degrees": 0.5,  # likewise, fifteen pixels from the centre
    "scaled area": 0.02,  # a disc's edge of single pixels
    "probe against its own optimum": 1e-3,  # probabilities; both stop at small gradients
    "weighted metrics, absolute": 1e-9,  # sums in another order; a root of a difference for MCC
    "bootstrap limits of the half width": 0.12,  # quantiles of 4000 draws, a discrete mean
    "permutation p of 20000": 0.25,  # some 160 permutations as far: three standard errors
    # quality
    "frechet, float32 features": 1e-5,  # 2 x + 1 is rounded to float32
    "spectrum of white noise": 0.1,  # 60 images; the smallest ring holds some dozen frequencies
    "speckle snr of the quietest": 0.2,  # a window of a few hundred pixels, chosen for its quiet
    "contrast to noise": 0.1,  # variances of some hundred pixels
    "mass of a random map": 0.02,  # 20 maps of 1600 pixels
    # training
    "half a level, of full scale": 1e-7,  # beyond the half: one float32 rounding before it
}
