/* lenet_native: the network of lenet.c as a Python extension module.
 *
 * It is written against CPython's stable ABI, so that one library serves Python 3.11 and later, and
 * initialised in phases without a global of its own, so that a process may load several networks.
 *
 *     run(images, logits, check_finite) -> bool
 *         images: a C-contiguous buffer of float32 (N, C, H, W), of uint8 (N, H, W) for a
 *         microcontroller; logits: a writable one of float32 (N, K), which is filled. False if check_finite is true and a value is NaN or
 *         infinite; logits then hold nothing of use.
 *     isa() -> str                 which kernels run on this CPU
 *     version, weights_sha256      of lenet-deploy, and of the network, as in the manifest
 *     interface                    see below
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>

/* Two libraries define these names. Where something asked for RTLD_GLOBAL, the second would call
 * into the first, if its own symbols were not protected. */
#pragma GCC visibility push(protected)
#include "lenet.h"
#pragma GCC visibility pop

#ifndef LENET_PIXEL
#define LENET_PIXEL float
#endif

/* Raised whenever what Python calls here changes; lenet_runtime refuses another one. */
#define INTERFACE 1

/* Giving the GIL back and taking it again costs 0.1 us where no other thread wants it, and up to
 * the interpreter's switch interval (5 ms) where one does. Below this batch the network is done in
 * a few microseconds, so others lose nothing by waiting. */
#define RELEASE_GIL_FROM 8

#define ALIGNMENT 64

/* Workspaces that no call uses, each holding a pointer to the next. malloc would map one anew for
 * every call. There are as many as there were calls at once; the GIL guards the list. */
typedef struct {
    void *workspaces;
} State;

static void *take_workspace(State *state)
{
    void *const workspace = state->workspaces;
    if (workspace != NULL) {
        state->workspaces = *(void **)workspace;
        return workspace;
    }
    size_t size = lenet_workspace_size();
    if (size < sizeof(void *))
        size = sizeof(void *);
    return aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

static void give_workspace(State *state, void *workspace)
{
    *(void **)workspace = state->workspaces;
    state->workspaces = workspace;
}

static PyObject *run_views(State *state, const Py_buffer *images, const Py_buffer *logits, int check)
{
    const size_t image_bytes = LENET_PIXELS * sizeof(LENET_PIXEL), bytes = (size_t)images->len;
    const size_t batch = bytes / image_bytes;
    const size_t answer_bytes = LENET_LOGITS * sizeof(float);
    if (bytes % image_bytes != 0 || (size_t)logits->len != batch * answer_bytes)
        return PyErr_Format(PyExc_ValueError,
            "expected N * %zu bytes of images and N * %zu bytes of logits, found %zd and %zd",
            image_bytes, answer_bytes, images->len, logits->len);
    if ((uintptr_t)images->buf % sizeof(LENET_PIXEL) != 0 || (uintptr_t)logits->buf % sizeof(float) != 0)
        return PyErr_Format(PyExc_ValueError, "expected float32 that is aligned in memory");
    void *const workspace = take_workspace(state);
    if (workspace == NULL)
        return PyErr_NoMemory();
    int (*const compute)(const LENET_PIXEL *, float *, size_t, void *) =
        check ? lenet_run_finite : lenet_run;
    int code;
    if (batch < RELEASE_GIL_FROM) {
        code = compute(images->buf, logits->buf, batch, workspace);
    } else {
        Py_BEGIN_ALLOW_THREADS
        code = compute(images->buf, logits->buf, batch, workspace);
        Py_END_ALLOW_THREADS
    }
    give_workspace(state, workspace);
    if (code != LENET_OK && code != LENET_ERROR_NOT_FINITE)
        return PyErr_Format(PyExc_RuntimeError, "lenet_run returned the error %d", code);
    return PyBool_FromLong(code == LENET_OK);
}

static PyObject *run(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "run: expected 3 arguments, found %zd", count);
    const int check = PyObject_IsTrue(arguments[2]);
    if (check < 0)
        return NULL;
    Py_buffer images, logits;
    /* PyBUF_SIMPLE: contiguous bytes, or an exception. */
    if (PyObject_GetBuffer(arguments[0], &images, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *answer = NULL;
    if (PyObject_GetBuffer(arguments[1], &logits, PyBUF_WRITABLE) == 0) {
        answer = run_views(PyModule_GetState(module), &images, &logits, check);
        PyBuffer_Release(&logits);
    }
    PyBuffer_Release(&images);
    return answer;
}

static PyObject *isa(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return PyUnicode_FromString(lenet_isa());
}

static int fill(PyObject *module)
{
    if (PyModule_AddIntConstant(module, "interface", INTERFACE) < 0 ||
        PyModule_AddStringConstant(module, "version", lenet_version) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "weights_sha256", lenet_weights_sha256);
}

static void release(void *module)
{
    State *const state = PyModule_GetState(module);
    while (state != NULL && state->workspaces != NULL) {
        void *const workspace = state->workspaces;
        state->workspaces = *(void **)workspace;
        free(workspace);
    }
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL,
     "run(images, logits, check_finite)\n--\n\n"
     "Fill logits; False if a value had to be finite and was not."},
    {"isa", isa, METH_NOARGS, "isa()\n--\n\nWhich kernels run on this CPU."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, __extension__(void *)fill}, /* ISO C knows no such cast; POSIX does */
    {0, NULL},
};

static PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "lenet_native",
    .m_doc = "One network, compiled.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_free = release,
};

PyMODINIT_FUNC PyInit_lenet_native(void)
{
    return PyModuleDef_Init(&definition);
}
