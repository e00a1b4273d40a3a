# train_attnvar: needs a C compiler and make, nothing else.
#
#   make            the optimised program          make debug   with the sanitizers, for a debugger
#   make run        the paper in minutes: a table  make test    every proof that it is right
#   make recall, make table, make paper: more of it, see dev/experiments/README.md
#   make check      what CI runs besides: both compilers, all flavours, sanitizers, command line
#   make tools      evaluate, look inside, generate (dev/tools)
#   make clean                             make fuzz    random input, needs clang
#   make bench      how fast it is beside OpenBLAS and PyTorch; make bench-quick: in a minute
#   make mutate     do the tests notice mistakes? 200 of them, one at a time
#   make static     static analysis (gcc, clang-tidy, cppcheck)
#   make dynamic    memory and races while it runs (valgrind, thread sanitizer)
#   make readme-check   README's commands, run; what it says they print, compared
#   make coverage   which lines the tests run (gcov)
#   make web        the page dev/web/attnvar.html: train_attnvar.c as WebAssembly (clang, lld, wasi-libc)
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
LDLIBS  := -lm

# A flag is used if a probe compiles, links and runs with it.
probe    = $(shell d=$$(mktemp -d) && printf '%s\n' $(2) > $$d/p.c && \
             $(CC) $(1) $$d/p.c -o $$d/p >/dev/null 2>&1 && $$d/p >/dev/null 2>&1 && echo $(1); rm -rf $$d)
ifndef PORTABLE
ARCH    := $(call probe,-march=native,'int main(void) { return 0; }')
# on AVX-512 machines, let loops use all of it
ARCH    += $(if $(ARCH),$(call probe,-march=native -mprefer-vector-width=512,\
             '#ifndef __AVX512F__' '#error no' '#endif' 'int main(void) { return 0; }'))
endif
ifndef NO_OMP
OMP     := $(call probe,-fopenmp,'#include <omp.h>' 'int main(void) { return omp_get_max_threads() < 1; }')
ifeq ($(strip $(OMP)),)
$(info note: $(CC) has no working OpenMP (-fopenmp); building for one thread)
endif
endif
# without OpenMP its pragmas are ignored, as they should be
OMP     := $(or $(OMP),-Wno-unknown-pragmas)

FLAGS    = $(WARN) $(OPT) $(ARCH) $(OMP) $(CFLAGS)
SANITIZE = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer $(OMP) $(CFLAGS)

train_attnvar: train_attnvar.c
	$(CC) $(FLAGS) $< -o $@ $(LDLIBS)

# The paper's experiments: dev/experiments/README.md. Only the table needs Python.
HAVE_PYTHON = command -v python3 > /dev/null && \
              python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2> /dev/null
run:
	@if $(HAVE_PYTHON); then $(MAKE) -s quick; \
	 else echo "note: no python3 (3.9 or newer), which the table of all variants needs:" \
	           "training the default model instead"; \
	      $(MAKE) -s train_attnvar && ./train_attnvar; fi

quick recall table paper:
	@$(HAVE_PYTHON) || { echo "make $@: no python3 (3.9 or newer) found: install it, or make run" \
	                          "trains one model without it" >&2; exit 1; }
	@echo "building"; $(MAKE) -s -j2 train_attnvar tools
	@python3 dev/experiments/deconstruct.py $@

# The tests compile everything twice: once in double, where gradients can be compared with finite
# differences, and once in float (FLOAT_PART), as it is used.
test_attnvar: test_attnvar.c train_attnvar.c
	$(CC) $(FLAGS) -DFLOAT_PART -c $< -o test_float.o
	$(CC) $(FLAGS) $< test_float.o -o $@ $(LDLIBS)
	@rm -f test_float.o

# Instruments for trained models, each one C file that includes the main file.
TOOLS = dev/tools/eval_attnvar dev/tools/inspect_attnvar dev/tools/generate_attnvar
tools: $(TOOLS)

$(TOOLS) dev/test/tools_test: %: %.c dev/tools/tools.h train_attnvar.c
	$(CC) $(FLAGS) $< -o $@ $(LDLIBS)

dev/tools/inspect_attnvar dev/test/tools_test: dev/tools/generate_attnvar.c
dev/test/tools_test: dev/tools/inspect_attnvar.c

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
	@if command -v python3 > /dev/null; then python3 dev/test/test_prepro.py; \
	 else echo "note: no python3: prepro_data.py is not tested"; fi

debug: train_debug test_debug

train_debug: train_attnvar.c
	$(CC) $(SANITIZE) $< -o $@ $(LDLIBS)

test_debug: test_attnvar.c train_attnvar.c
	$(CC) $(SANITIZE) -DFLOAT_PART -c $< -o test_debug.o
	$(CC) $(SANITIZE) $< test_debug.o -o $@ $(LDLIBS)
	@rm -f test_debug.o

check:
	dev/test/check.sh

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
	    work=$$(mktemp -d) && $(FUZZ) -DTARGET=$${part%%:*} -o $$work/fuzz && \
	    mkdir $$work/corpus && $$work/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=4096 \
	        -detect_leaks=0 -close_fd_mask=1 -print_final_stats=1 -artifact_prefix=$$work/ \
	        $$work/corpus dev/test/corpus/$${part##*:} 2>&1 | grep -a -v 'train_attnvar: error' | \
	        grep -a 'stat::number_of_executed\|ERROR\|SUMMARY\|Test unit\|runtime error' ; \
	    ls $$work/crash-* $$work/timeout-* $$work/oom-* 2> /dev/null && exit 1; rm -rf $$work; \
	done

# The golden vectors that the tests read, by an independent implementation; needs a python3 with torch.
golden golden-write:
	@for python in python3 /usr/bin/python3; do \
	     if $$python -c 'import torch' 2> /dev/null; then break; fi; \
	 done; $$python dev/golden/make_golden.py $(if $(filter golden-write,$@),--write)

# Speed and memory beside OpenBLAS and PyTorch, each used if it is there: dev/bench/README.md. More
# options: make dev/bench/bench && dev/bench/bench --help. A thread that waits must spin as it does
# in a plain run, so no policy of the shell's is handed on.
dev/bench/bench: dev/bench/bench.c train_attnvar.c
	$(CC) $(FLAGS) $< -o $@ $(LDLIBS) -ldl

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

clean:
	rm -f train_attnvar test_attnvar train_debug test_debug *.o dev/bench/bench $(TOOLS) \
	      dev/test/tools_test

.PHONY: web run quick recall table paper tools test test-model test-commands debug check static mutate bench \
        bench-quick golden golden-write fuzz exercise exercises-check clean
