/* Logits become probabilities. */
static void lenet_finish(float *logits, size_t n)
{
    for (size_t i = 0; i < n; i++, logits += LENET_LOGITS) {
        float most = logits[0];
        double sum = 0;
        for (int k = 1; k < LENET_LOGITS; k++)
            most = logits[k] > most ? logits[k] : most;
        for (int k = 0; k < LENET_LOGITS; k++) {
            logits[k] = lenet_power(logits[k] - most);
            sum += (double)logits[k];
        }
        for (int k = 0; k < LENET_LOGITS; k++)
            logits[k] = (float)((double)logits[k] / sum);
    }
}

