/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A repository with one backup, the programs that read it, and ways to damage it.
 */
#pragma once

#include "repository-scene.h"

#include <glib.h>

#define SIZE (5u * 1024 * 1024 + 512)
#define BACKUP "01BACKUP"

extern uint8_t *rescue_disk; /* what BACKUP holds */

/* Also with @passphrase; the repository stays open for writing, as the daemon has it. */
void rescue_start (const char *passphrase);
void rescue_stop (void);

/* Runs @argv; its exit status, and what it wrote; (transfer full), either may be NULL. */
int rescue_run (const char *const *argv, char **out, char **err);
/* backup-rescue with these words (NULL-terminated). */
int rescue_call (char **out, char **err, ...) G_GNUC_NULL_TERMINATED;

/* A path beside the repository; (transfer full). */
char *rescue_path (const char *name);
/* @length bytes from @offset of @path, or fails. */
void rescue_check_file (const char *path, uint64_t offset, const uint8_t *wanted, size_t length);
/* Spoils the stored bytes of the chunk at @offset of the disk, which must be data. */
void rescue_spoil_chunk (uint64_t offset);
/* An offset, at a chunk's beginning, where the disk holds random bytes that it has nowhere else. */
uint64_t rescue_find_random (void);
