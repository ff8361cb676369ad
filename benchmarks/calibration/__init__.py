"""How often what infoplane claims of its errors is true: simulations whose answer is known, and repeated real fits."""
