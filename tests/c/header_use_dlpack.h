/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Our tensors are DLPack's. */

static int header_use(void) {
    int32_t (*older)(shm_sample *, const shm_tensor_type *, DLManagedTensor **) = shm_sample_to_dlpack;
    int32_t (*newer)(shm_sample *, const shm_tensor_type *,
                     struct DLManagedTensorVersioned **) = shm_sample_to_dlpack_versioned;
    DLManagedTensor *tensor = NULL;
    DLTensor plain;
    plain.ndim = 0;
    shm_dlpack_destroy(tensor);
    if (shm_publisher_publish_dlpack(NULL, &plain, NULL) != SHM_ERR_NULL) return 1;
    return older(NULL, NULL, &tensor) != SHM_ERR_NULL || newer == NULL || tensor != NULL;
}
