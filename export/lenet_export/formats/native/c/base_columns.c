float part[4][9];
for (int t = 0; t < 4; t++) {
    for (int j = 0; j < 8; j++)
        part[t][j] = row[4 * j + t];
    part[t][8] = part[t][7];
}
const base_vec d0_0 = base_load(part[0] + 0);
const base_vec d1_0 = base_load(part[1] + 0);
const base_vec d2_0 = base_load(part[2] + 0);
const base_vec d3_0 = base_load(part[3] + 0);
const base_vec d0_1 = base_load(part[0] + 4);
const base_vec d1_1 = base_load(part[1] + 4);
const base_vec d2_1 = base_load(part[2] + 4);
const base_vec d3_1 = base_load(part[3] + 4);
const base_vec d0_2 = base_load(part[2] + 0);
const base_vec d1_2 = base_load(part[3] + 0);
const base_vec d2_2 = base_load(part[0] + 1);
const base_vec d3_2 = base_load(part[1] + 1);
const base_vec d0_3 = base_load(part[2] + 4);
const base_vec d1_3 = base_load(part[3] + 4);
const base_vec d2_3 = base_load(part[0] + 5);
const base_vec d3_3 = base_load(part[1] + 5);
