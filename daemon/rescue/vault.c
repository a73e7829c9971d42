/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vault.h"

#include "fsio.h"

#include <string.h>

#define MAX_PASSPHRASE 4096

static char *
read_passphrase (const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  char *passphrase = NULL;
  size_t length = 0;
  if (!bk_fsio_read_file (path, MAX_PASSPHRASE, &passphrase, &length, &failure)) {
    g_set_error (error, BK_ERROR, BK_ERROR_DENIED, "the passphrase cannot be read: %s", failure->message);
    return NULL;
  }
  passphrase[strcspn (passphrase, "\r\n")] = '\0';
  return passphrase;
}

BkRepository *
bk_vault_open (const char *path, const char *passphrase_file, const char *key_file, GError **error)
{
  g_autofree char *passphrase = NULL;
  if (passphrase_file && (passphrase = read_passphrase (passphrase_file, error)) == NULL)
    return NULL;
  const BkRepositorySecret secret = { .passphrase = passphrase, .key_file = key_file };
  BkRepository *repository = bk_repository_open (path, passphrase || key_file ? &secret : NULL, BK_REPOSITORY_READ, error);
  if (passphrase)
    explicit_bzero (passphrase, strlen (passphrase));
  return repository;
}

static const BkBackupInfo *
match (GPtrArray *backups, const char *prefix, GError **error)
{
  const BkBackupInfo *found = NULL;
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < backups->len; i++) {
    const BkBackupInfo *backup = backups->pdata[i];
    if (!g_str_has_prefix (backup->id, prefix))
      continue;
    if (strcmp (backup->id, prefix) == 0)
      return backup;
    g_string_append_printf (names, "%s%s", found ? ", " : "", backup->id);
    found = found ? found : backup;
  }
  if (found == NULL)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no backup '%s' in this repository; list it to see those that there are", prefix);
  else if (strchr (names->str, ',')) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is the beginning of several backups: %s", prefix, names->str);
    return NULL;
  }
  return found;
}

BkBackupInfo *
bk_vault_find (BkRepository *repository, const char *prefix, GError **error)
{
  g_autoptr (GPtrArray) backups = bk_repository_list (repository, error);
  const BkBackupInfo *found = backups ? match (backups, prefix, error) : NULL;
  return found ? bk_struct_copy (&bk_backup_info_struct, found) : NULL;
}

const BkBackupDisk *
bk_vault_find_disk (const BkBackupInfo *backup, const char *name, GError **error)
{
  g_autoptr (GString) known = g_string_new (NULL);
  for (unsigned i = 0; i < backup->disks->len; i++) {
    const BkBackupDisk *disk = backup->disks->pdata[i];
    g_string_append_printf (known, "%s%s", i ? ", " : "", disk->name);
    if (strcmp (disk->name, name) != 0)
      continue;
    if (strcmp (disk->state, "completed") == 0)
      return disk;
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "disk '%s' had failed in backup '%s' (%s); take it from another one", name, backup->id,
                 disk->error ? disk->error->message : disk->state);
    return NULL;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "backup '%s' has no disk '%s'; it has %s", backup->id, name, known->str);
  return NULL;
}
