/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A repository in a temporary folder, and disks as byte arrays that are backed up into it and read back.
 */
#pragma once

#include "repository.h"
#include "suite.h"

#define CHUNK (64u * 1024)

extern char *scene_root;
extern BkRepository *scene_repository;

/* Makes and opens one. @passphrase: NULL = not encrypted. */
void scene_start (const char *passphrase);
void scene_open (const char *passphrase, BkRepositoryAccess access);
void scene_stop (void);

/* Random bytes, text and zeroes, by chunks, of @size. (transfer full) */
uint8_t *scene_disk (GRand *rand, size_t size);
/* Rewrites, zeroes and leaves some of its chunks, and tells which it has touched (one bool for each chunk). */
void scene_change (GRand *rand, uint8_t *disk, size_t size, bool *touched);

/* Backs @disk up as disk vda of VM web01. @touched: only these chunks are written, over @base; NULL = all.
 * FALSE with an error, never asserts: for tests of faults. */
gboolean scene_backup (const char *id, const char *base, const uint8_t *disk, size_t size, const bool *touched, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Fails unless the backup gives just @disk: by reads of all sizes and by its extents. */
void scene_check (const char *id, const uint8_t *disk, size_t size);
/* Reads all of it; for tests of damage. */
gboolean scene_read (const char *id, uint8_t *out, size_t size, GError **error) G_GNUC_WARN_UNUSED_RESULT;
BkBackupInfo *scene_manifest (const char *id, size_t size);
/* Names of files in a folder of the repository that do not begin with a dot, sorted; (transfer full). */
GPtrArray *scene_files (const char *folder, bool hidden);
