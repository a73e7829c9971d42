/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MIN_WIDTH 6 /* a column is not made narrower */

struct BkOutput {
  bool json;
  bool quiet;
  bool colour;
  unsigned width; /* of the terminal; 0: no terminal, nothing is cut */
};

BkOutput *
bk_output_new (bool json, bool quiet)
{
  BkOutput *output = g_new0 (BkOutput, 1);
  const char *no_color = g_getenv ("NO_COLOR");
  output->json = json;
  output->quiet = quiet;
  if (!bk_output_terminal (STDOUT_FILENO, &output->width, NULL))
    return output;
  output->colour = (no_color == NULL || *no_color == '\0') && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0;
  return output;
}

void
bk_output_free (BkOutput *output)
{
  g_free (output);
}

bool
bk_output_is_json (BkOutput *output)
{
  return output->json;
}

bool
bk_output_is_quiet (BkOutput *output)
{
  return output->quiet;
}

bool
bk_output_is_terminal (BkOutput *output)
{
  return output->width > 0;
}

bool
bk_output_terminal (int fd, unsigned *columns, unsigned *rows)
{
  struct winsize size = { 0 };
  if (!isatty (fd))
    return false;
  bool known = ioctl (fd, TIOCGWINSZ, &size) == 0;
  *columns = known && size.ws_col ? size.ws_col : 80;
  if (rows)
    *rows = known && size.ws_row ? size.ws_row : 24;
  return true;
}

/* --- text --- */

/* Characters that move the cursor, turn the direction of writing, or can not be seen. */
static bool
is_unsafe (gunichar c)
{
  static const GUnicodeType unsafe[] = { G_UNICODE_CONTROL,     G_UNICODE_FORMAT,         G_UNICODE_SURROGATE,
                                         G_UNICODE_UNASSIGNED,  G_UNICODE_LINE_SEPARATOR, G_UNICODE_PARAGRAPH_SEPARATOR,
                                         G_UNICODE_PRIVATE_USE };
  GUnicodeType type = g_unichar_type (c);
  for (size_t i = 0; i < G_N_ELEMENTS (unsafe); i++)
    if (type == unsafe[i])
      return true;
  return false;
}

static void
append_escaped (GString *out, gunichar c)
{
  if (c == '\n')
    g_string_append (out, "\\n");
  else if (c == '\t')
    g_string_append (out, "\\t");
  else if (c < 0x100)
    g_string_append_printf (out, "\\x%02x", c);
  else if (c < 0x10000)
    g_string_append_printf (out, "\\u%04x", c);
  else
    g_string_append_printf (out, "\\U%08x", c);
}

char *
bk_output_escape (const char *text)
{
  GString *out = g_string_new (NULL);
  while (*text) {
    gunichar c = g_utf8_get_char_validated (text, -1);
    if (c == (gunichar)-1 || c == (gunichar)-2) {
      append_escaped (out, (unsigned char)*text++);
      continue;
    }
    if (is_unsafe (c))
      append_escaped (out, c);
    else
      g_string_append_unichar (out, c);
    text = g_utf8_next_char (text);
  }
  return g_string_free (out, FALSE);
}

static unsigned
char_width (gunichar c)
{
  return g_unichar_iszerowidth (c) ? 0 : g_unichar_iswide (c) ? 2 : 1;
}

unsigned
bk_output_width (const char *text)
{
  unsigned width = 0;
  for (; *text; text = g_utf8_next_char (text))
    width += char_width (g_utf8_get_char (text));
  return width;
}

static bool
has_utf8 (void)
{
  return g_get_charset (NULL);
}

static unsigned
append_cut (GString *line, const char *text, unsigned width)
{
  const char *mark = has_utf8 () ? "…" : "~";
  unsigned used = 0;
  for (; *text; text = g_utf8_next_char (text)) {
    gunichar c = g_utf8_get_char (text);
    if (used + char_width (c) + 1 > width)
      break;
    g_string_append_unichar (line, c);
    used += char_width (c);
  }
  g_string_append (line, mark);
  return used + 1;
}

void
bk_output_append (GString *line, const char *text, unsigned width, bool right)
{
  unsigned used = bk_output_width (text);
  for (; right && used < width; used++)
    g_string_append_c (line, ' ');
  if (bk_output_width (text) > width)
    used = append_cut (line, text, width);
  else
    g_string_append (line, text);
  for (; used < width; used++)
    g_string_append_c (line, ' ');
}

char *
bk_output_duration (int64_t seconds)
{
  int64_t hours = seconds / 3600;
  int64_t minutes = seconds / 60 % 60;
  if (hours)
    return g_strdup_printf ("%" G_GINT64_FORMAT ":%02d:%02d", hours, (int)minutes, (int)(seconds % 60));
  return g_strdup_printf ("%d:%02d", (int)minutes, (int)(seconds % 60));
}

/* --- cells --- */

static char *
local_time (int64_t time_us)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_local (time_us / G_USEC_PER_SEC);
  return time ? g_date_time_format (time, "%Y-%m-%d %H:%M:%S") : NULL;
}

static char *
map_text (GHashTable *map)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GList) keys = map ? g_list_sort (g_hash_table_get_keys (map), (GCompareFunc)strcmp) : NULL;
  for (GList *l = keys; l; l = l->next)
    g_string_append_printf (text, "%s%s=%s", text->len ? "," : "", (char *)l->data, (char *)g_hash_table_lookup (map, l->data));
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static char *
number_text (uint64_t number, BkCellStyle style)
{
  if (style == BK_CELL_SIZE)
    return bk_size_format (number);
  if (style != BK_CELL_RATE)
    return g_strdup_printf ("%" G_GUINT64_FORMAT, number);
  g_autofree char *size = bk_size_format (number);
  return number ? g_strdup_printf ("%s/s", size) : g_strdup ("no limit");
}

static const BkField *
find_field (const BkStruct *type, const char *name)
{
  for (const BkField *field = type->fields; field->name; field++)
    if (strcmp (field->name, name) == 0)
      return field;
  g_assert_not_reached ();
}

static char *
member_text (const BkStruct *type, gconstpointer item, const BkColumn *column)
{
  const BkField *field = find_field (type, column->member);
  gconstpointer at = (const char *)item + field->offset;
  switch (field->type) {
  case BK_FIELD_STRING:
    return g_strdup (*(char *const *)at);
  case BK_FIELD_BOOL:
    return g_strdup (*(const bool *)at ? "yes" : "no");
  case BK_FIELD_UINT64:
    return number_text (*(const uint64_t *)at, column->style);
  case BK_FIELD_INT64:
    return *(const int64_t *)at < 0 ? NULL : bk_output_duration (*(const int64_t *)at);
  case BK_FIELD_TIME:
    return *(const int64_t *)at ? local_time (*(const int64_t *)at) : NULL;
  case BK_FIELD_STRV:
    return *(GStrv const *)at ? g_strjoinv (",", *(GStrv const *)at) : NULL;
  case BK_FIELD_MAP:
    return map_text (*(GHashTable *const *)at);
  case BK_FIELD_OBJECT:
  case BK_FIELD_ARRAY:
    break;
  }
  g_assert_not_reached ();
}

/* Text of a cell, escaped; "" when there is nothing. */
static char *
cell_text (const BkStruct *type, gconstpointer item, const BkColumn *column)
{
  g_autofree char *text = column->cell ? column->cell (item) : member_text (type, item, column);
  return bk_output_escape (text ? text : "");
}

static const char *
colour_of (const char *word)
{
  static const struct {
    const char *word, *colour;
  } colours[] = {
    { "completed", "\033[32m" }, { "ok", "\033[32m" },          { "done", "\033[32m" },      { "running", "\033[36m" },
    { "partial", "\033[33m" },   { "paused", "\033[33m" },      { "cancelled", "\033[33m" }, { "busy", "\033[33m" },
    { "failed", "\033[31m" },    { "unreachable", "\033[31m" }, { "locked", "\033[31m" },    { "ready", "\033[32m" },
    { "ended", "\033[32m" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (colours); i++)
    if (strcmp (colours[i].word, word) == 0)
      return colours[i].colour;
  return NULL;
}

static void
append_coloured (BkOutput *output, GString *line, const BkColumn *column, const char *word, const char *padded)
{
  const char *colour = output->colour && column->style == BK_CELL_STATE ? colour_of (word) : NULL;
  g_string_append_printf (line, "%s%s%s", colour ? colour : "", padded, colour ? "\033[0m" : "");
}

/* --- tables --- */

static unsigned
count_columns (const BkColumn *columns)
{
  unsigned n = 0;
  while (columns[n].heading)
    n++;
  return n;
}

/* Makes the widest column that may be cut narrower until the line fits. */
static void
shrink (unsigned *widths, const BkColumn *columns, unsigned n, unsigned available)
{
  for (;;) {
    unsigned sum = 2 * (n - 1);
    unsigned *widest = NULL;
    for (unsigned i = 0; i < n; i++) {
      sum += widths[i];
      if (columns[i].style != BK_CELL_WHOLE && (widest == NULL || widths[i] > *widest))
        widest = &widths[i];
    }
    if (sum <= available || widest == NULL || *widest <= MIN_WIDTH)
      return;
    (*widest)--;
  }
}

static unsigned *
table_widths (BkOutput *output, GPtrArray *rows, const BkColumn *columns, unsigned n)
{
  unsigned *widths = g_new0 (unsigned, n);
  for (unsigned i = 0; i < n && !output->quiet; i++)
    widths[i] = bk_output_width (columns[i].heading);
  for (unsigned row = 0; row < rows->len; row++)
    for (unsigned i = 0; i < n; i++)
      widths[i] = MAX (widths[i], bk_output_width (((char **)rows->pdata[row])[i]));
  if (output->width)
    shrink (widths, columns, n, output->width);
  return widths;
}

static void
print_line (GString *line)
{
  while (line->len && line->str[line->len - 1] == ' ')
    g_string_truncate (line, line->len - 1);
  fwrite (line->str, 1, line->len, stdout);
  putchar ('\n');
}

static void
print_row (BkOutput *output, char **cells, const BkColumn *columns, const unsigned *widths, unsigned n, bool heading)
{
  g_autoptr (GString) line = g_string_new (NULL);
  for (unsigned i = 0; i < n; i++) {
    g_autoptr (GString) padded = g_string_new (NULL);
    bool right = columns[i].style == BK_CELL_SIZE || columns[i].style == BK_CELL_RATE;
    bk_output_append (padded, cells[i], widths[i], right);
    g_string_append (line, i ? "  " : "");
    if (heading && output->colour)
      g_string_append_printf (line, "\033[1m%s\033[0m", padded->str);
    else
      append_coloured (output, line, &columns[i], cells[i], padded->str);
  }
  print_line (line);
}

static GPtrArray *
table_rows (const BkStruct *type, GPtrArray *items, const BkColumn *columns, unsigned n)
{
  GPtrArray *rows = g_ptr_array_new_with_free_func ((GDestroyNotify)g_strfreev);
  for (unsigned row = 0; items && row < items->len; row++) {
    GStrv cells = g_new0 (char *, n + 1);
    for (unsigned i = 0; i < n; i++) {
      g_autofree char *text = cell_text (type, items->pdata[row], &columns[i]);
      /* Never nothing, so that awk counts right. */
      cells[i] = *text ? g_steal_pointer (&text) : g_strdup ("-");
    }
    g_ptr_array_add (rows, cells);
  }
  return rows;
}

void
bk_output_table (BkOutput *output, const BkStruct *type, GPtrArray *items, const BkColumn *columns)
{
  unsigned n = count_columns (columns);
  g_autoptr (GPtrArray) rows = table_rows (type, items, columns, n);
  g_autofree unsigned *widths = table_widths (output, rows, columns, n);
  if (!output->quiet) {
    g_autofree char **headings = g_new0 (char *, n + 1);
    for (unsigned i = 0; i < n; i++)
      headings[i] = (char *)columns[i].heading;
    print_row (output, headings, columns, widths, n, true);
  }
  for (unsigned row = 0; row < rows->len; row++)
    print_row (output, rows->pdata[row], columns, widths, n, false);
}

void
bk_output_section (BkOutput *output, const char *title, const BkStruct *type, GPtrArray *items, const BkColumn *columns)
{
  if (items == NULL || items->len == 0)
    return;
  printf ("\n");
  if (!output->quiet)
    printf ("%s\n", title);
  bk_output_table (output, type, items, columns);
}

void
bk_output_details (BkOutput *output, const BkStruct *type, gconstpointer value, const BkColumn *rows)
{
  unsigned width = 0;
  for (const BkColumn *row = rows; row->heading; row++)
    width = MAX (width, bk_output_width (row->heading) + 1);
  for (const BkColumn *row = rows; row->heading; row++) {
    g_autofree char *text = cell_text (type, value, row);
    if (*text == '\0')
      continue;
    g_autofree char *label = g_strdup_printf ("%s:", row->heading);
    g_autoptr (GString) line = g_string_new (NULL);
    bk_output_append (line, label, width + 1, false);
    append_coloured (output, line, row, text, text);
    print_line (line);
  }
}

/* --- JSON --- */

/* json-c escapes C0; terminals know DEL and C1 too. Outside of strings JSON has neither. */
static void
print_json_text (const char *text)
{
  for (; *text; text = g_utf8_next_char (text)) {
    gunichar c = g_utf8_get_char (text);
    if (c >= 0x7f && c < 0xa0)
      printf ("\\u%04x", c);
    else
      fwrite (text, 1, (size_t)(g_utf8_next_char (text) - text), stdout);
  }
  putchar ('\n');
}

void
bk_output_json (BkOutput *output, json_object *json)
{
  int flags = output->width ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN;
  print_json_text (json_object_to_json_string_ext (json, flags | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void
free_items (GPtrArray *items, const BkStruct *type)
{
  for (unsigned i = 0; i < items->len; i++)
    bk_struct_free (type, items->pdata[i]);
  g_ptr_array_unref (items);
}

gboolean
bk_output_list (BkOutput *output, const BkStruct *type, json_object *json, const BkColumn *columns, GError **error)
{
  if (output->json) {
    bk_output_json (output, json);
    return TRUE;
  }
  json_object *list = json_object_object_get (json, "items");
  GPtrArray *items = g_ptr_array_new ();
  for (size_t i = 0; i < json_object_array_length (list); i++) {
    g_autoptr (GError) cause = NULL;
    gpointer item = bk_struct_from_json_lax (type, json_object_array_get_idx (list, i), &cause);
    if (item == NULL) {
      g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the answer of backupd is not understood: /items/%zu%s", i, cause->message);
      free_items (items, type);
      return FALSE;
    }
    g_ptr_array_add (items, item);
  }
  bk_output_table (output, type, items, columns);
  free_items (items, type);
  return TRUE;
}

/* --- lines --- */

static void
print_escaped (FILE *stream, const char *before, const char *format, va_list args) G_GNUC_PRINTF (3, 0);

static void
print_escaped (FILE *stream, const char *before, const char *format, va_list args)
{
  g_autofree char *text = g_strdup_vprintf (format, args);
  g_autofree char *safe = bk_output_escape (text);
  fprintf (stream, "%s%s\n", before, safe);
}

void
bk_output_line (BkOutput *output G_GNUC_UNUSED, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  print_escaped (stdout, "", format, args);
  va_end (args);
}

void
bk_output_message (const char *format, ...)
{
  va_list args;
  va_start (args, format);
  print_escaped (stderr, "backupctl: ", format, args);
  va_end (args);
}

gboolean
bk_output_flush (BkOutput *output G_GNUC_UNUSED, GError **error)
{
  errno = 0;
  if (fflush (stdout) == 0 && !ferror (stdout))
    return TRUE;
  return bk_error_set_errno (error, errno ? errno : EIO, "cannot write to standard output");
}

char *
bk_output_quiesce (const BkQuiesceInfo *quiesce)
{
  if (quiesce == NULL)
    return NULL;
  const char *thaw = quiesce->file_systems == 0 ? "" : quiesce->thawed ? "; it is thawed" : "; it is not known whether it is thawed";
  if (!quiesce->quiesced)
    return g_strdup_printf ("no: %s%s", quiesce->reason ? quiesce->reason : "it is not known why", thaw);
  return g_strdup_printf ("yes: %" G_GUINT64_FORMAT " file system%s of the guest frozen for %.3f s%s", quiesce->file_systems,
                          quiesce->file_systems == 1 ? "" : "s", (double)quiesce->frozen_ms / 1000, thaw);
}
