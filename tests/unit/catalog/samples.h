/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Objects with something in every field, found by walking the field tables: a field that is added to a struct is
 * filled and compared without a change here.
 */
#pragma once

#include "catalog.h"

/* A new struct filled from @rand. With @sparse every member that may be empty is empty half of the time.
 * Texts hold quotes, control characters, and UTF-8 of each length. */
gpointer sample_struct (const BkStruct *type, GRand *rand, bool sparse);

/* Fails unless both are equal to the last microsecond; NULL and empty arrays and maps are equal. */
void sample_assert_equal (const BkStruct *type, gconstpointer got, gconstpointer wanted);

/* One record with a job like that, all members set. @id: (nullable) its ID. */
BkJobRecord *sample_job (GRand *rand, const char *id);
void sample_assert_equal_job (const BkJobRecord *got, const BkJobRecord *wanted);

/* Small whole objects. */
BkJobRecord *sample_small_job (const char *id, const char *vm, const char *state);
BkBackupInfo *sample_backup (const char *id, const char *vm, const char *repository, int64_t point_in_time,
                             const char *parent);
BkCheckpointInfo *sample_checkpoint (const char *id, const char *name, const char *vm, const char *parent);

/* Adds VM and repository, or fails the test. */
void sample_add_vm (BkCatalog *catalog, const char *name);
void sample_add_repository (BkCatalog *catalog, const char *name);

/* A catalog in a new folder, or in @folder. */
BkCatalog *sample_open (const char *folder);
