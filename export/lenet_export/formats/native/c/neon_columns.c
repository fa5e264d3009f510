const float32x4x4_t a = vld4q_f32(row), b = vld4q_f32(row + 16);
const float32x4_t d0_0 = a.val[0], d1_0 = a.val[1], d2_0 = a.val[2], d3_0 = a.val[3];
const float32x4_t d0_1 = b.val[0], d1_1 = b.val[1], d2_1 = b.val[2], d3_1 = b.val[3];
const float32x4_t d0_2 = d2_0, d1_2 = d3_0, d2_2 = vextq_f32(d0_0, d0_1, 1);
const float32x4_t d3_2 = vextq_f32(d1_0, d1_1, 1);
const float32x4_t d0_3 = d2_1, d1_3 = d3_1, d2_3 = vextq_f32(d0_1, d0_1, 1);
const float32x4_t d3_3 = vextq_f32(d1_1, d1_1, 1);
