/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A dedup repository as it is read without the daemon: opened for reading alone, its backups found by ID. Blocking.
 */
#pragma once

#include "repository.h"

/* @passphrase_file: its first line is the passphrase; @key_file: the key file; at most one of them. Nothing is written, and
 * no lock is taken, so it works on a read-only file system and beside a daemon.
 * Errors of bk_repository_open(); DENIED when the file with the secret cannot be read. (transfer full) */
BkRepository *bk_vault_open (const char *path, const char *passphrase_file, const char *key_file, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The backup whose ID is @prefix, or begins with it. NOT_FOUND; INVALID names the matches when there are several.
 * (transfer full) */
BkBackupInfo *bk_vault_find (BkRepository *repository, const char *prefix, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* A disk of it that is whole. NOT_FOUND names those that there are; FAILED when the backup of that disk had failed. */
const BkBackupDisk *bk_vault_find_disk (const BkBackupInfo *backup, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
