// Draws the parts in the order of the page.

summary();
controls();
colouring();
legend();
outcomes();
seeds();
sweep();
curves();
samples();
configuration();
draw(); // once all has its place, and so its width
