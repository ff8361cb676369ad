"""What each number of the page of noisy networks means, and which way it errs."""

#: kind -> (short name, what it is and which way it errs)
MEANINGS: dict[str, tuple[str, str]] = {
    "flow": (
        "I(X;T) by sample propagation",
        "What a noisy layer T tells about the network’s input X: h(T) − h(T|X). Both entropies are those of Gaussian "
        "mixtures whose centres are activations propagated through the network with its own noise (Goldfeld et al. "
        "2018). A consistent estimate, not a bound. With m equally likely inputs it cannot exceed log m; close to "
        "that it says only that the layer still tells the inputs apart.",
    ),
    "information": (
        "I(X;T) by quadrature",
        "The same quantity by numerical integration, where a layer is narrow enough for it. It has no sampling error, "
        "so the points of sample propagation can be held against it.",
    ),
    "binned-entropy": (
        "H(Bin(T))",
        "Entropy of the activations after each unit is cut into bins of the stated size. It measures how far inputs "
        "cluster, at the scale of the bins. In a noisy network the activations are those of one pass of every input, "
        "with the noise of that pass, so it varies a little from pass to pass; no error is given for that. It is not "
        "I(X;T): in a network without noise I(X;T) is infinite, or the constant H(X) for almost all weights, whatever "
        "the bins say.",
    ),
    "loss": (
        "Lost since the peak",
        "I(X;T) at its peak minus I(X;T) at the end. Which epoch is the peak is chosen on one estimate, and the value "
        "is taken from the others, so it is not inflated by the choice. “By chance” is what picking the largest would "
        "show if all epochs were equal and the same estimate were used for both; it is there to compare with, and is "
        "in no number. “Lost” and “gained” need p < 0.05 and twice the standard error; “no loss seen” does not mean "
        "that there is none, only that it would be of the size of the error. Each layer is tested by itself, so of "
        "twenty that lost nothing one may pass.",
    ),
    "accuracy": ("Accuracy", "Share of the test inputs that the network puts in the right class."),
}

ERRORS = (
    "± is one standard error of the estimate for this one trained network: the points at which densities were "
    "evaluated, the inputs that were drawn, the samples that were propagated, and what their finite number may still "
    "hide after its first order is removed, which no repetition averages away: for that the number is enclosed by "
    "bounds that hold whatever the number of samples is (lower and upper in results.csv, with two errors by chance on "
    "either side), and the distance to the farther one is taken over √3. It says nothing about retraining: another "
    "seed gives another network, with other numbers."
)
