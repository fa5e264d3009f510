// The network by TensorFlow Lite Micro's interpreter, with the four operators it takes.
//
// The kernels are CMSIS-NN's, or TFLM's own reference where the build says so. The arena is just as
// large as the interpreter asks for: setup fails where it is too small, and where it is too large.
#include <cstring>
#include <new>

#include "harness.h"
#include "model.h"
#include "tensorflow/lite/micro/kernels/conv.h"
#include "tensorflow/lite/micro/kernels/fully_connected.h"
#include "tensorflow/lite/micro/kernels/pooling.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

// What `arena_used_bytes` says, rounded up to 16.
#ifdef __ARM_FEATURE_MVE
enum { ARENA = 10144 };
#else
enum { ARENA = 10112 };
#endif
alignas(16) static uint8_t arena[ARENA];
static tflite::MicroInterpreter *interpreter;
using Operators = tflite::MicroMutableOpResolver<4>;

int setup(void) {
    // Placed by hand: objects that are never destroyed need no atexit.
    alignas(8) static uint8_t of_operators[sizeof(Operators)];
    alignas(8) static uint8_t of_interpreter[sizeof(tflite::MicroInterpreter)];
    auto &operators = *new (of_operators) Operators();
    operators.AddConv2D(tflite::Register_CONV_2D_INT8());
    operators.AddMaxPool2D(tflite::Register_MAX_POOL_2D_INT8());
    operators.AddReshape();
    operators.AddFullyConnected(tflite::Register_FULLY_CONNECTED_INT8());
    auto &made = *new (of_interpreter) tflite::MicroInterpreter(
        tflite::GetModel(model), operators, arena, sizeof arena);
    interpreter = &made;
    const bool ready = made.AllocateTensors() == kTfLiteOk;
    const int used = static_cast<int>(made.arena_used_bytes());
    return ready && used + 64 >= ARENA ? 0 : used;
}

void classify(const uint8_t *pixels, LOGIT *logits) {
    int8_t *const input = interpreter->input(0)->data.int8;
    std::memset(input, -128, 32 * 32);
    for (int y = 0; y < 28; y++)
        for (int x = 0; x < 28; x++)
            input[(y + 2) * 32 + x + 2] = static_cast<int8_t>(pixels[y * 28 + x] ^ 0x80);
    interpreter->Invoke();
    std::memcpy(logits, interpreter->output(0)->data.int8, 10);
}
