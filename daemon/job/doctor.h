/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * `doctor`: looks at all that commonly keeps backups from working, from the outside in, and says what to do. What is looked at
 * outside of our own memory (folders, programs, each repository, each VM) has a worker of its own; who does not come back in
 * time has one finding that says so, and holds nothing else up. Main thread only.
 */
#pragma once

#include "queue.h"

typedef struct BkDoctor BkDoctor;

typedef struct {
  const char *state, *scratch;
  uint64_t scratch_reserve; /* as in BkQueueOptions */
} BkDoctorFolders;

/* All (transfer none), but @folders, which is copied. */
BkDoctor *bk_doctor_new (BkCatalog *catalog, BkVmRegistry *vms, BkRepositoryRegistry *repositories, BkQueue *queue, const BkDoctorFolders *folders);
void bk_doctor_free (BkDoctor *doctor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkDoctor, bk_doctor_free)

/* @vm: only this VM, beside the daemon and the repositories; NULL = all. Finish returns (transfer full) BkDiagnosis.
 * NOT_FOUND names the known VMs. */
void bk_doctor_run_async (BkDoctor *doctor, const char *vm, GAsyncReadyCallback callback, gpointer user_data);
BkDiagnosis *bk_doctor_run_finish (BkDoctor *doctor, GAsyncResult *result, GError **error) G_GNUC_WARN_UNUSED_RESULT;
