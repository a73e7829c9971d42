/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For tests with the real qemu-img: programs, and images whose wanted content is kept in memory beside them.
 */
#pragma once

#include "archive.h"
#include "image.h"
#include "suite.h"

#define MIB (1024 * 1024)

/* Runs a program (NULL-terminated words) that must end with status 0. (transfer full) its standard output. */
char *scene_run (const char *program, ...) G_GNUC_NULL_TERMINATED;

/* Fails unless @path (of @format) shows just the bytes of @wanted. */
void scene_assert_content (const char *path, const char *format, const GByteArray *wanted);

/* A backup of one disk, "vda": begun, its image made on @parent (or NULL) and filled by the writes, committed. A write is
 * "P OFFSET LENGTH": a pattern byte, "z" for zero clusters, or "d" for discarded ones (read as zero); sizes as
 * qemu-io takes them. @model is changed likewise, and grown to @size. */
void scene_backup (BkArchive *archive, const char *id, const char *parent, uint64_t size, GByteArray *model,
                   const char *const *writes);

/* As scene_backup(), without the commit: the manifest. */
BkBackupInfo *scene_prepare (BkArchive *archive, const char *id, const char *parent, uint64_t size, GByteArray *model,
                             const char *const *writes);

void scene_write (const char *image, GByteArray *model, const char *const *writes);
GByteArray *scene_copy (const GByteArray *model);
BkArchive *scene_archive (void);
