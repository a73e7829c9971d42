/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * backup-rescue: reads a dedup repository with nothing but its folder: no daemon, no catalog, no hypervisor.
 */
#include "extract.h"
#include "fsio.h"
#include "vault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
  char *passphrase_file, *key_file;
  char **disks;
  char *output;
  gboolean force, salvage, version;
  char **operands; /* of the command */
} Options;

static void
options_clear (Options *options)
{
  g_free (options->passphrase_file);
  g_free (options->key_file);
  g_strfreev (options->disks);
  g_free (options->output);
  g_strfreev (options->operands);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static const char summary[] =
    "Commands:\n"
    "  list PATH                                  backups of the repository in folder PATH\n"
    "  verify PATH [BACKUP]                       read all that is stored, and compare it with its checksums\n"
    "  extract PATH BACKUP --output FILE          a disk, as a raw image; several: FILE is a folder\n"
    "\n"
    "The beginning of a backup's ID will do, where there is only one like it.";

static gboolean
parse (int argc, char **argv, Options *options, GError **error)
{
  const GOptionEntry entries[] = {
    { "passphrase-file", 0, 0, G_OPTION_ARG_FILENAME, &options->passphrase_file, "file whose first line is the passphrase", "FILE" },
    { "key-file", 0, 0, G_OPTION_ARG_FILENAME, &options->key_file, "file that is the key", "FILE" },
    { "disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->disks, "extract: only this disk; may be repeated", "NAME" },
    { "output", 0, 0, G_OPTION_ARG_FILENAME, &options->output, "extract: file, folder or block device", "FILE" },
    { "force", 0, 0, G_OPTION_ARG_NONE, &options->force, "extract: replace what is there", NULL },
    { "salvage", 0, 0, G_OPTION_ARG_NONE, &options->salvage, "extract: go on where stored data is damaged; list it in FILE.damaged", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &options->version, "tell the version", NULL },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->operands, NULL, NULL },
    { NULL },
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("COMMAND PATH [BACKUP]");
  g_autoptr (GError) failure = NULL;
  g_option_context_set_summary (context, summary);
  g_option_context_add_main_entries (context, entries, NULL);
  if (g_option_context_parse (context, &argc, &argv, &failure))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "%s; see backup-rescue --help", failure->message);
  return FALSE;
}

static char *
format_time (int64_t microseconds)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (microseconds / G_USEC_PER_SEC);
  return time ? g_date_time_format (time, "%Y-%m-%dT%H:%M:%SZ") : g_strdup ("-");
}

/* --- list --- */

static gboolean
list (BkRepository *repository, const Options *options G_GNUC_UNUSED, GError **error)
{
  g_autoptr (GPtrArray) backups = bk_repository_list (repository, error);
  if (backups == NULL)
    return FALSE;
  for (unsigned i = 0; i < backups->len; i++) {
    const BkBackupInfo *backup = backups->pdata[i];
    g_autofree char *time = format_time (backup->point_in_time);
    printf ("%s  %s  %s  %s ", backup->id, backup->vm, time, backup->state);
    for (unsigned d = 0; d < backup->disks->len; d++) {
      const BkBackupDisk *disk = backup->disks->pdata[d];
      g_autofree char *size = bk_size_format (disk->size);
      printf (" %s (%s)", disk->name, strcmp (disk->state, "completed") == 0 ? size : disk->state);
    }
    printf ("\n");
  }
  return TRUE;
}

/* --- verify --- */

static void
print_damage (const BkRepositoryVerify *verify)
{
  for (unsigned i = 0; i < verify->damage->len; i++) {
    const BkRepositoryDamage *damage = verify->damage->pdata[i];
    printf ("%s  %s  %s  offset %" G_GUINT64_FORMAT " length %" G_GUINT64_FORMAT ": %s\n", damage->backup, damage->vm,
            damage->disk ? damage->disk : "-", damage->offset, damage->length, damage->reason);
  }
}

static gboolean
verify (BkRepository *repository, const Options *options, GError **error)
{
  const char *prefix = options->operands[2];
  g_autoptr (BkBackupInfo) backup = prefix ? bk_vault_find (repository, prefix, error) : NULL;
  if (prefix && backup == NULL)
    return FALSE;
  g_autoptr (BkRepositoryVerify) result =
      bk_repository_verify (repository, backup ? backup->vm : NULL, backup ? backup->id : NULL, 0, NULL, NULL, NULL, NULL, error);
  if (result == NULL)
    return FALSE;
  print_damage (result);
  g_autofree char *size = bk_size_format (result->bytes);
  if (result->damage->len > 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "%u ranges of %" G_GUINT64_FORMAT " backups are damaged", result->damage->len, result->backups);
    return FALSE;
  }
  printf ("%" G_GUINT64_FORMAT " backups, %" G_GUINT64_FORMAT " chunks, %s: all is as it was stored\n", result->backups, result->chunks, size);
  return TRUE;
}

/* --- extract --- */

static gboolean
extract_disk (BkRepository *repository, const Options *options, const BkBackupInfo *backup, const char *disk, const char *output,
              uint64_t *damaged, GError **error)
{
  uint64_t bytes = 0;
  const BkExtract what = { backup->vm, backup->id, disk, output, options->force, options->salvage };
  if (bk_vault_find_disk (backup, disk, error) == NULL || !bk_extract_run (repository, &what, &bytes, error))
    return FALSE;
  *damaged += bytes;
  printf ("%s\n", output);
  return TRUE;
}

static gboolean
make_folder (const char *path, GError **error)
{
  return g_file_test (path, G_FILE_TEST_IS_DIR) || bk_fsio_make_folder (path, error);
}

/* The disks that are asked for, else all that are whole; (transfer full). */
static GStrv
choose_disks (const Options *options, const BkBackupInfo *backup)
{
  if (options->disks)
    return g_strdupv (options->disks);
  GPtrArray *names = g_ptr_array_new ();
  for (unsigned i = 0; i < backup->disks->len; i++)
    g_ptr_array_add (names, g_strdup (((const BkBackupDisk *)backup->disks->pdata[i])->name));
  g_ptr_array_add (names, NULL);
  return (GStrv)g_ptr_array_free (names, FALSE);
}

static gboolean
extract_disks (BkRepository *repository, const Options *options, const BkBackupInfo *backup, uint64_t *damaged, GError **error)
{
  g_auto (GStrv) disks = choose_disks (options, backup);
  bool several = g_strv_length (disks) > 1;
  if (several && !make_folder (options->output, error))
    return FALSE;
  for (size_t i = 0; disks[i]; i++) {
    g_autofree char *component = bk_path_component_escape (disks[i]);
    g_autofree char *inside = g_strdup_printf ("%s/%s.raw", options->output, component);
    if (!extract_disk (repository, options, backup, disks[i], several ? inside : options->output, damaged, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
extract (BkRepository *repository, const Options *options, GError **error)
{
  uint64_t damaged = 0;
  g_autoptr (BkBackupInfo) backup = bk_vault_find (repository, options->operands[2], error);
  if (backup == NULL || !extract_disks (repository, options, backup, &damaged, error))
    return FALSE;
  if (damaged == 0)
    return TRUE;
  g_autofree char *size = bk_size_format (damaged);
  g_set_error (error, BK_ERROR, BK_ERROR_CORRUPT, "%s could not be read, and are zero; see the files *.damaged", size);
  return FALSE;
}

/* --- the program --- */

typedef struct {
  const char *name;
  unsigned min, max; /* operands, with the name */
  bool needs_output;
  gboolean (*run) (BkRepository *repository, const Options *options, GError **error);
} Command;

static const Command commands[] = {
  { "list", 2, 2, false, list },
  { "verify", 2, 3, false, verify },
  { "extract", 3, 3, true, extract },
};

static const Command *
find_command (const Options *options, GError **error)
{
  unsigned count = options->operands ? g_strv_length (options->operands) : 0;
  for (size_t i = 0; count > 0 && i < G_N_ELEMENTS (commands); i++) {
    const Command *command = &commands[i];
    if (strcmp (command->name, options->operands[0]) != 0)
      continue;
    if (count < command->min || count > command->max || (options->output != NULL) != command->needs_output)
      break;
    if (options->passphrase_file == NULL || options->key_file == NULL)
      return command;
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "--passphrase-file and --key-file exclude each other");
    return NULL;
  }
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "write: list PATH, verify PATH [BACKUP], or extract PATH BACKUP --output FILE; see backup-rescue --help");
  return NULL;
}

static gboolean
run (const Options *options, GError **error)
{
  const Command *command = find_command (options, error);
  if (command == NULL)
    return FALSE;
  g_autoptr (BkRepository) repository = bk_vault_open (options->operands[1], options->passphrase_file, options->key_file, error);
  return repository && command->run (repository, options, error);
}

int
main (int argc, char **argv)
{
  g_auto (Options) options = { 0 };
  g_autoptr (GError) error = NULL;
  g_set_prgname ("backup-rescue");
  if (parse (argc, argv, &options, &error) && options.version) {
    puts ("backup-rescue " BK_VERSION);
    return EXIT_SUCCESS;
  }
  if (error == NULL && run (&options, &error) && fflush (stdout) == 0)
    return EXIT_SUCCESS;
  if (error == NULL)
    bk_error_set_errno (&error, errno, "cannot write to standard output");
  fflush (stdout);
  fprintf (stderr, "backup-rescue: %s\n", error->message);
  return bk_error_entry_of (error)->exit_status;
}
