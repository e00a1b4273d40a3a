# train_attnvar: needs a C compiler and make, nothing else.
#
#   make            the optimised program          make debug   with the sanitizers, for a debugger
#   make run        the paper in minutes: a table  make test    every proof that it is right
#   make recall, make table, make paper: more of it, see dev/experiments/README.md
#   make check      what CI runs besides: both compilers, all flavours, sanitizers, command line
#   make tools      evaluate, look inside, generate (dev/tools)
#   make clean                             make fuzz    random input, needs clang
#   make bench      how fast it is beside OpenBLAS and PyTorch; make bench-quick: in a minute
#   make cross      other systems, those that a Linux machine can compile for or run: dev/README.md
#   make mutate     do the tests notice mistakes? 348 of them, one at a time
#   make static     static analysis (gcc, clang-tidy, cppcheck)
#   make dynamic    memory and races while it runs (valgrind, thread sanitizer)
#   make readme-check   README's commands, run; what it says they print, compared
#   make coverage   which lines the tests run (gcov)
#   make web        the page dev/web/attnvar.html: train_attnvar.c as WebAssembly (clang, lld, wasi-libc)
#   make mpi        train_attnvar on several machines: dev/scale/mpi_attnvar.c (mpicc)
#   make golden     dev/golden made again by PyTorch and compared (golden-write: replaced)
#
#   PORTABLE=1      for any machine of this kind, not only this very one (no -march=native)
#   NO_OMP=1        one thread, without OpenMP
#   CC=clang        another compiler

CC      ?= cc
WARN    := -std=c11 -Wall -Wextra -Wpedantic
# Not fast-math: results stay as written. -ffp-contract=fast lets a*b + c round once (an FMA
# instruction); the other two only drop errno and floating-point traps, which nothing here reads.
OPT     := -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
CFLAGS  ?=

# What compiler and machine can do is tried out with the first build, and again when CC, CFLAGS,
# PORTABLE, NO_OMP or this file change. A flag is used if a program compiled with it runs, or, of a
# cross compiler, if it links. The file .flags has four lines: the flags for the machine, for OpenMP,
# for the linker, and what they were tried for. Make 3.81 compares times in whole seconds, so a changed
# .flags is written a second later than any program that was built before.
BUILD    = $(CC) $(WARN) $(OPT) $$(sed -n 1,2p .flags) $(CFLAGS)
SANITIZE = $(CC) $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
           -fno-omit-frame-pointer $$(sed -n 2p .flags) $(CFLAGS)
LIBS     = $$(sed -n 3p .flags) -lm
FOR      = '$(subst ','\'',CC=$(CC) CFLAGS=$(CFLAGS) PORTABLE=$(PORTABLE) NO_OMP=$(NO_OMP))'
# Apple's clang finds libomp where Homebrew (on ARM, on Intel) or MacPorts puts it.
LIBOMP   = '-I/opt/homebrew/opt/libomp/include -L/opt/homebrew/opt/libomp/lib' \
           '-I/usr/local/opt/libomp/include -L/usr/local/opt/libomp/lib' \
           '-I/opt/local/include/libomp -L/opt/local/lib/libomp'
# On Windows paths and arguments are UTF-8 if a program's manifest says so.
UTF8     = <assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0"><application> \
           <windowsSettings><activeCodePage \
           xmlns="http://schemas.microsoft.com/SMI/2019/WindowsSettings">UTF-8</activeCodePage> \
           </windowsSettings></application></assembly>

.flags: Makefile always
	@[ -z '$(filter Makefile,$?)' ] && [ "$$(sed -n 4p $@)" = $(FOR) ] && exit; \
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT || exit 1; \
	cross= machine= omp=-Wno-unknown-pragmas link=; \
	echo 'int main(void) { return 0; }' > "$$dir/plain.c"; \
	printf '%s\n' '#ifndef __AVX512F__' '#error' '#endif' "$$(cat "$$dir/plain.c")" > "$$dir/wide.c"; \
	printf '%s\n' '#include <omp.h>' 'int main(void) { return omp_get_max_threads() < 1; }' \
	    > "$$dir/omp.c"; \
	links() { c=$$1.c; shift; $(CC) $(CFLAGS) "$$dir/$$c" "$$@" -o "$$dir/p.exe" > "$$dir/log" 2>&1; }; \
	works() { links "$$@" && { [ $$cross ] || "$$dir/p.exe" > /dev/null 2>&1; }; }; \
	links plain || { echo 'make: error: $(CC) does not compile'; cat "$$dir/log"; exit 1; } >&2; \
	works plain || cross=yes; \
	if [ -z '$(PORTABLE)' ] && [ -z $$cross ]; then \
	    for try in -march=native -mcpu=native; do works plain $$try && machine=$$try && break; done; \
	    try=-mprefer-vector-width=512; works wide $$machine $$try && machine="$$machine $$try"; \
	fi; \
	if [ -z '$(NO_OMP)' ]; then \
	    if works omp -fopenmp; then omp=-fopenmp; \
	    else for place in $(LIBOMP); do \
	        try="-Xpreprocessor -fopenmp $$place -lomp"; works omp $$try && omp=$$try && break; \
	    done; fi; \
	    case $$omp in -Wno*) echo 'note: $(CC) has no working OpenMP, building for one thread;' \
	        "clang's is libomp: brew install libomp, or apt install libomp-dev" ;; esac; \
	fi; \
	case $$($(CC) -dumpmachine 2> /dev/null) in *mingw*) \
	    link='-static -lwinpthread'; \
	    echo '$(UTF8)' > "$$dir/utf8.xml"; echo '1 24 "utf8.xml"' > "$$dir/utf8.rc"; \
	    for windres in $$($(CC) -dumpmachine)-windres windres; do \
	        (cd "$$dir" && $$windres utf8.rc utf8.o) > "$$dir/log" 2>&1 && \
	            mv "$$dir/utf8.o" .utf8.o && link=".utf8.o $$link" && break; \
	    done ;; esac; \
	[ ! -e $@ ] || sleep 1; \
	printf '%s\n' "$$machine" "$$omp" "$$link" $(FOR) > $@

train_attnvar: train_attnvar.c .flags
	$(BUILD) $< -o $@ $(LIBS)

# The paper's experiments: dev/experiments/README.md. Only the table needs Python.
HAVE_PYTHON = command -v python3 > /dev/null && \
              python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2> /dev/null
run:
	@$(MAKE) -s $$($(HAVE_PYTHON) && echo quick || echo default-model)

default-model: train_attnvar
	@echo "note: no python3 (3.9 or newer), which the table of all variants needs:" \
	      "training the default model instead"
	./train_attnvar

quick recall table paper:
	@$(HAVE_PYTHON) || { echo "make $@: no python3 (3.9 or newer) found: install it, or make run" \
	                          "trains one model without it" >&2; exit 1; }
	@echo "building"; $(MAKE) -s -j2 train_attnvar tools
	@python3 dev/experiments/deconstruct.py $@

# The tests compile everything twice: once in double, where gradients can be compared with finite
# differences, and once in float (FLOAT_PART), as it is used.
test_attnvar: test_attnvar.c train_attnvar.c .flags
	$(BUILD) -DFLOAT_PART -c $< -o test_float.o
	$(BUILD) $< test_float.o -o $@ $(LIBS)
	@rm -f test_float.o

# Instruments for trained models, each one C file that includes the main file.
TOOLS = dev/tools/eval_attnvar dev/tools/inspect_attnvar dev/tools/generate_attnvar
tools: $(TOOLS)

$(TOOLS) dev/test/tools_test: %: %.c dev/tools/tools.h train_attnvar.c .flags
	$(BUILD) $< -o $@ $(LIBS)

dev/tools/inspect_attnvar dev/test/tools_test: dev/tools/generate_attnvar.c
dev/test/tools_test: dev/tools/inspect_attnvar.c

# The same program under mpirun: dev/scale/README.md. mpicc must call the compiler that .flags is for.
mpi: dev/scale/mpi_attnvar
dev/scale/mpi_attnvar: dev/scale/mpi_attnvar.c train_attnvar.c .flags
	mpicc $(WARN) $(OPT) $$(sed -n 1,2p .flags) $(CFLAGS) $< -o $@ $(LIBS)

# Two at a time: first what is built, then what is tested.
test:
	@$(MAKE) -j2 test_attnvar train_attnvar tools dev/test/tools_test
	@$(MAKE) -j2 test-model test-commands

test-model:
	./test_attnvar
	dev/test/tools_test

test-commands:
	dev/test/cli.sh ./train_attnvar
	dev/test/checkpoint.sh ./train_attnvar
	dev/test/tools.sh ./train_attnvar
	@if command -v python3 > /dev/null; then \
	     python3 dev/test/test_prepro.py && KILLS=5 CUTS=some python3 dev/test/save.py ./train_attnvar; \
	 else echo "note: no python3: prepro_data.py and kills while saving are not tested"; fi

debug: train_debug test_debug

train_debug: train_attnvar.c .flags
	$(SANITIZE) $< -o $@ $(LIBS)

test_debug: test_attnvar.c train_attnvar.c .flags
	$(SANITIZE) -DFLOAT_PART -c $< -o test_debug.o
	$(SANITIZE) $< test_debug.o -o $@ $(LIBS)
	@rm -f test_debug.o

check:
	dev/test/check.sh

# Other systems, a line each; CROSS='--long windows' etc.
cross:
	dev/test/cross.sh $(CROSS)

# gcc's analyzer, clang-tidy and cppcheck, those that are installed.
static:
	dev/test/static.sh

readme-check:
	python3 dev/test/readme.py

coverage:
	python3 dev/test/coverage.py

# valgrind; clang's thread sanitizer with libarcher.
dynamic:
	dev/test/dynamic.sh

# Small mistakes, each in a copy that the tests must fail: dev/README.md. MUTATE='--only NAME' etc.
mutate:
	python3 dev/test/mutate.py $(MUTATE)

# Random input against all that reads files or options; needs clang. make fuzz FUZZ_SECONDS=600
FUZZ_SECONDS ?= 60
FUZZ = clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
       -Wno-unknown-pragmas dev/test/fuzz.c -lm
fuzz:
	for part in 1:header 2:data 3:options; do \
	    work=$$(mktemp -d) && $(FUZZ) -DTARGET=$${part%%:*} -o "$$work/fuzz" && \
	    mkdir "$$work/corpus" && "$$work/fuzz" -max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
	        -detect_leaks=0 -close_fd_mask=1 -print_final_stats=1 -artifact_prefix="$$work/" \
	        "$$work/corpus" dev/test/corpus/$${part##*:} 2>&1 | grep -a -v 'train_attnvar: error' | \
	        grep -a 'stat::number_of_executed\|ERROR\|SUMMARY\|Test unit\|runtime error' ; \
	    ls "$$work"/crash-* "$$work"/timeout-* "$$work"/oom-* 2> /dev/null && exit 1; rm -rf "$$work"; \
	done

# The golden vectors that the tests read, by an independent implementation; needs a python3 with torch.
golden golden-write:
	@for python in python3 /usr/bin/python3; do \
	     if $$python -c 'import torch' 2> /dev/null; then break; fi; \
	 done; $$python dev/golden/make_golden.py $(if $(filter golden-write,$@),--write)

# Speed and memory beside OpenBLAS and PyTorch, each used if it is there: dev/bench/README.md. More
# options: make dev/bench/bench && dev/bench/bench --help. A thread that waits must spin as it does
# in a plain run, so no policy of the shell's is handed on.
dev/bench/bench: dev/bench/bench.c train_attnvar.c .flags
	$(BUILD) $< -o $@ $(LIBS) -ldl

bench: dev/bench/bench
	unset OMP_WAIT_POLICY; dev/bench/bench

bench-quick: dev/bench/bench
	unset OMP_WAIT_POLICY; dev/bench/bench --quick

# make exercise lists the exercises, N=3 grades the third: dev/exercises/README.md
exercise:
	@CC='$(CC)' dev/exercises/exercise.sh $(if $(N),'$(N)' $(ANSWERS))

exercises-check: train_attnvar
	@CC='$(CC)' dev/exercises/check.sh

# The page in which a class trains the variants: dev/web/README.md.
web:
	python3 dev/web/build.py

# In Chromium, beside the native program; longer parts: dev/test/web.sh recall speed firefox
web-check:
	dev/test/web.sh

clean:
	rm -f train_attnvar test_attnvar train_debug test_debug dev/scale/mpi_attnvar *.o .flags .utf8.o dev/bench/bench \
	      $(TOOLS) dev/test/tools_test

.PHONY: always web web-check run default-model quick recall table paper tools test test-model test-commands debug check cross static \
        mutate bench bench-quick golden golden-write fuzz exercise exercises-check clean
