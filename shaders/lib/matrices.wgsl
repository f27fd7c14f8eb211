// Where a matrix of a batch lies. A tensor of heads (B, T, H * D) is B * H matrices of (T, D) whose rows are H * D
// apart; with H = 1 this is an ordinary batch of matrices, one behind the other.

// Offset of the first element of matrix `index`.
fn matrix_base(index: u32, rows: u32, columns: u32, heads: u32) -> u32 {
    return (index / heads * rows * heads + index % heads) * columns;
}
